"""``unisono check`` as a program: what it prints, writes and returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def check(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unisono", "check", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_list() -> None:
    done = check("--list")
    assert done.returncode == 0
    assert "ops.attention" in done.stdout
    assert "soak.load" in done.stdout


def test_a_card_and_a_report(tmp_path: Path) -> None:
    card, report = tmp_path / "card.json", tmp_path / "report.md"
    options = [f"--json={card}", f"--report={report}", f"--scripts={tmp_path / 'scripts'}"]
    done = check("cpu", "--quick", "--only=ops.rope", "--only=measure", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fit to run models" in done.stdout
    data = json.loads(card.read_text("utf-8"))
    assert data["hardware"] == "cpu"
    assert data["passed"] is False, "some checks alone pass no device"
    assert {figure["unit"] for figure in data["figures"]} >= {"GB/s", "TFLOP/s", "us"}
    assert "Fit to run models" in report.read_text("utf-8")
    assert not (tmp_path / "scripts").exists()


def test_a_failure_has_a_program_and_exit_code_1(tmp_path: Path) -> None:
    fake = "tests.integration.conformance.fakes:WrongDtype"
    done = check(fake, "--quick", "--only=ops.silu_mul", f"--scripts={tmp_path}")
    assert done.returncode == 1
    assert "returns torch.float64 instead of torch.float32" in done.stdout
    assert (tmp_path / "ops.silu_mul.1.py").is_file()


def test_an_unknown_device_is_exit_code_2() -> None:
    done = check("no-such-device")
    assert done.returncode == 2
    assert "is not a known device" in done.stderr


@pytest.mark.timeout(600)
def test_the_processor_passes_quickly() -> None:
    done = check("cpu", "--quick")
    assert done.returncode == 0, done.stdout
