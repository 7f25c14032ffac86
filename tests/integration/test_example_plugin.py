"""The example of a third party's hardware: short, installed, found, checked, run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "plugin" / "unisono_abacus.py"


def unisono(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "unisono", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_it_is_under_150_lines_and_overrides_two_ops() -> None:
    from unisono_abacus import AbacusOps

    assert len(SOURCE.read_text("utf-8").splitlines()) < 150
    assert [name for name in vars(AbacusOps) if not name.startswith("__")] == [
        "rms_norm",
        "silu_mul",
    ]


def test_it_is_found() -> None:
    reports = {report["name"]: report for report in json.loads(unisono("devices", "--json"))}
    assert reports["abacus"]["present"]
    assert reports["abacus"]["status"] == "unverified"


def test_it_passes_the_kit(tmp_path: Path) -> None:
    card = tmp_path / "card.json"
    unisono("check", "abacus", "--quick", "--only", "ops", "--json", str(card))
    data = json.loads(card.read_text("utf-8"))
    assert data["hardware"] == "abacus"
    assert all(result["outcome"] != "failed" for result in data["results"])


def test_it_answers_as_the_cpu_does() -> None:
    prompt = "My parcel XJ20931 has not arrived, I ordered it on 3 May."
    answers = [
        unisono("run", prompt, "--device", device, "--dtype", "float32")
        for device in ("cpu", "abacus")
    ]
    assert answers[0] == answers[1]
