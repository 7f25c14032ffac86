"""torchvulkan through unisono: found, run, checked. Run by scripts/test-devices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parents[1]
PROMPT = "Charge of 12 EUR on 3 May."
SOUND = (
    *("runtime.identity", "runtime.copies", "runtime.tied_weights", "runtime.nan"),
    *("ops.functions", "ops.silu_mul", "ops.rope", "ops.kv_write", "ops.embedding"),
)
MISSING = ("runtime.streams", "runtime.event_times", "runtime.pinned")


def unisono(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unisono", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def answer(device: str) -> dict[str, Any]:
    options = ("--dtype", "float32", "--kv-memory", "8MiB", "--max-tokens", "16", "--json")
    done = unisono("run", PROMPT, "--device", device, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(tmp_path: Path, *names: str) -> dict[str, dict[str, Any]]:
    card = tmp_path / "card.json"
    only = [f"--only={name}" for name in names]
    options = ("--quick", *only, "--json", str(card), "--scripts", str(tmp_path))
    done = unisono("check", "vulkan", *options)
    assert done.returncode in (0, 1), done.stderr
    results = json.loads(card.read_text("utf-8"))["results"]
    return {result["check"]: result for result in results}


def test_its_file_is_facts_alone() -> None:
    lines = (HERE / "unisono_torchvulkan.py").read_text("utf-8").splitlines()
    assert len(lines) <= 20
    assert not any("def " in line for line in lines)


def test_it_is_found() -> None:
    reports = {each["name"]: each for each in json.loads(unisono("devices", "--json").stdout)}
    assert reports["vulkan"]["present"], reports["vulkan"]["reason"]
    assert reports["vulkan"]["devices"][0]["total_memory"] > 0


def test_the_demo_model_answers_as_on_the_cpu() -> None:
    there, here = answer("vulkan"), answer("cpu")
    assert there["device"] == "vulkan:0"
    assert (there["text"], there["token_ids"]) == (here["text"], here["token_ids"])
    assert len(there["token_ids"]) == 16


def test_what_is_sound_passes_and_what_is_missing_is_refused(tmp_path: Path) -> None:
    results = check(tmp_path, *SOUND, *MISSING)
    outcomes = {name: result["outcome"] for name, result in results.items()}
    assert {outcomes[name] for name in SOUND} == {"passed"}, outcomes
    assert {outcomes[name] for name in MISSING} <= {"refused", "passed"}, outcomes


def test_its_fault_is_named(tmp_path: Path) -> None:
    """argmax of long rows: found where torch itself shows it, and passed once it is repaired."""
    rows = torch.randn(4, 131_072, generator=torch.Generator().manual_seed(1))
    import torchvulkan  # noqa: F401  (brings the device)

    is_sound = torch.equal(rows.to("vulkan").argmax(-1).cpu(), rows.argmax(-1))
    result = check(tmp_path, "ops.argmax")["ops.argmax"]
    assert result["outcome"] == ("passed" if is_sound else "failed")
    if not is_sound:
        assert result["failures"][0]["culprit"] == "aten.argmax.default"
        assert "import torchvulkan" in result["failures"][0]["script"]
