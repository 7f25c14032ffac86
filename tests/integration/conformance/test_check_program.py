"""``unisono check`` as a program: what it prints, writes and returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import until


def check(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unisono", "check", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_list() -> None:
    done = check("--list")
    assert done.returncode == 0
    assert "ops.attention" in done.stdout
    assert "soak.load" in done.stdout


def test_a_card_and_a_report(tmp_path: Path) -> None:
    card, report = tmp_path / "new" / "card.json", tmp_path / "other" / "report.md"
    options = [f"--json={card}", f"--report={report}", f"--scripts={tmp_path / 'scripts'}"]
    done = check("cpu", "--quick", "--only=ops.rope", "--only=measure", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "what was asked passed" in done.stdout
    assert "fit to run models" not in done.stdout
    data = json.loads(card.read_text("utf-8"))
    assert data["hardware"] == "cpu"
    assert data["passed"] is False, "some checks alone pass no device"
    assert {figure["unit"] for figure in data["figures"]} >= {"GB/s", "TFLOP/s", "us"}
    assert "**What was asked passed**" in report.read_text("utf-8")
    assert not (tmp_path / "scripts").exists()


def test_a_failure_has_a_program_and_exit_code_1(tmp_path: Path) -> None:
    fake = "tests.integration.conformance.fakes:WrongDtype"
    done = check(fake, "--quick", "--only=ops.silu_mul", f"--scripts={tmp_path}")
    assert done.returncode == 1
    assert "returns torch.float64 instead of torch.float32" in done.stdout
    assert (tmp_path / "ops.silu_mul.1.py").is_file()


def test_a_program_that_needs_unisono_runs_the_check_as_it_was_asked(tmp_path: Path) -> None:
    fake = "tests.integration.conformance.fakes:ClearsItsInput"
    (tmp_path / "ops.silu_mul.9.py").write_text("old")
    (tmp_path / "ops.rope.1.py").write_text("of another check")
    (tmp_path / "ops.silu_mul.notes.py").write_text("somebody's own")
    done = check(fake, "--quick", "--only=ops.silu_mul", f"--scripts={tmp_path}")
    assert "NOT pass" in done.stdout
    script = tmp_path / "ops.silu_mul.1.py"
    left = {path.name for path in tmp_path.iterdir()} - {f"ops.silu_mul.{i}.py" for i in range(5)}
    assert left == {"ops.rope.1.py", "ops.silu_mul.notes.py"}
    again = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert again.returncode == 1, again.stderr
    assert "changes its input 1 (gate_up)" in again.stdout
    assert script.exists()


def test_a_card_that_cannot_be_written_is_said_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = check("cpu", "--quick", f"--json={tmp_path / 'file' / 'card.json'}")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert not done.stdout


def test_an_unknown_device_is_exit_code_2() -> None:
    done = check("no-such-device")
    assert done.returncode == 2
    assert "is not a known device" in done.stderr


def test_the_processor_passes_quickly() -> None:
    done = check("cpu", "--quick")
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing ends them")
def test_a_check_that_hangs_ends_with_the_program() -> None:
    device = "tests.integration.conformance.fakes:Hangs"
    command = [sys.executable, "-m", "unisono", "check", device, "--only=ops.silu_mul"]
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _children(program.pid))
        (child,) = _children(program.pid)
        until(lambda: "libtorch" in Path(f"/proc/{child}/maps").read_text())
    finally:
        program.kill()
        program.wait()
    until(lambda: not Path(f"/proc/{child}").exists())


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]
