"""``unisono doctor`` on machines with trouble, made from stand-ins for what vendors install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Finding = dict[str, str]


class Machine:
    """A folder of installed packages and one of commands, in front of the real ones."""

    def __init__(self, folder: Path) -> None:
        self.packages, self.commands = folder / "packages", folder / "bin"
        self.packages.mkdir()
        self.commands.mkdir()
        self.environment: dict[str, str] = {}

    def install(
        self, name: str, code: str = "", *, requires: str = "", entry_points: str = ""
    ) -> None:
        (self.packages / f"{name}.py").write_text(code)
        info = self.packages / f"{name}-1.2.dist-info"
        info.mkdir()
        wants = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n{wants}"
        )
        (info / "entry_points.txt").write_text(entry_points)

    def command(self, name: str) -> None:
        path = self.commands / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)

    def doctor(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.unisono("doctor", *options)

    def unisono(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "unisono", *words],
            env={
                **os.environ,
                "PYTHONPATH": str(self.packages),
                "PATH": f"{self.commands}:{os.environ['PATH']}",
                **self.environment,
            },
            capture_output=True,
            text=True,
        )

    def findings(self, *, status: int) -> dict[str, list[Finding]]:
        done = self.doctor("--json")
        assert done.returncode == status, done.stderr
        by_subject: dict[str, list[Finding]] = {}
        for finding in json.loads(done.stdout):
            by_subject.setdefault(finding["subject"], []).append(finding)
        return by_subject


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_healthy_machine(machine: Machine) -> None:
    done = machine.doctor()
    assert done.returncode == 0, done.stderr
    assert "No problem." in done.stdout
    for subject in ("import torch", "unisono", "torch", "cpu"):
        assert subject in done.stdout


def only(findings: list[Finding], level: str) -> Finding:
    (found,) = [finding for finding in findings if finding["level"] == level]
    return found


def test_drivers_plugins_and_variables_that_do_not_fit(machine: Machine) -> None:
    machine.command("npu-smi")
    machine.command("cnmon")
    machine.install("torch_mlu", "__version__ = '1.2'", requires="torch==2.1.0")
    machine.install("torch_musa", "raise RuntimeError('libmusart.so.1: no such file')")
    machine.install("broken", entry_points="[unisono.hardware]\nodd = broken:Odd\n")
    for name in ("second", "third"):
        code = "from unisono.hardware.devices.musa import MusaHardware as Musa"
        machine.install(name, code, entry_points=f"[unisono.hardware]\nmusa = {name}:Musa\n")
    machine.environment = {"ASCEND_RT_VISIBLE_DEVICES": "1, 0", "MLU_VISIBLE_DEVICES": ""}
    found: dict[str, Any] = machine.findings(status=1)

    driver = found["npu"][0]
    assert driver["level"] == "problem"
    assert "npu-smi" in driver["what"]
    assert "Install torch_npu" in driver["advice"]
    assert "cut" in found["npu"][-1]["what"]
    assert "0,1,3" in found["npu"][-1]["advice"]
    assert "needs torch==2.1.0, installed is" in only(found["torch_mlu"], "problem")["what"]
    assert (
        "torch_mlu 1.2 is installed, and torch finds no mlu device"
        in (only(found["mlu"], "warning")["what"])
    )
    assert "hides every device" in only(found["mlu"], "note")["what"]
    assert "'Odd'" in only(found["odd"], "problem")["what"]
    assert "2 installed packages" in only(found["musa"], "warning")["what"]


def test_a_package_that_breaks_import_torch_is_named(machine: Machine) -> None:
    machine.install(
        "torch_npu",
        "raise OSError('libascendcl.so: cannot open shared object file')",
        entry_points="[torch.backends]\ntorch_npu = torch_npu:_autoload\n",
    )
    found = machine.findings(status=1)
    (imported,) = found["import torch"]
    assert imported["level"] == "problem"
    assert "torch_npu" in imported["what"]
    assert "libascendcl.so" in imported["what"]
    assert "TORCH_DEVICE_BACKEND_AUTOLOAD=0" in imported["advice"]
    assert found["cpu"][0]["level"] == "ok"


@pytest.mark.parametrize(
    "words", [("devices",), ("run", "Hello"), ("bench",), ("serve", "--port", "0")]
)
def test_every_verb_names_the_package_that_breaks_import_torch(
    machine: Machine, words: tuple[str, ...]
) -> None:
    machine.install("sound", "def load(): pass", entry_points="[torch.backends]\na = sound:load\n")
    machine.install(
        "torch_broken",
        "def load():\n    raise RuntimeError('no libfirmware.so.3')\n",
        entry_points="[torch.backends]\nbrokenchip = torch_broken:load\n",
    )
    done = machine.unisono(*words)
    assert done.returncode == 2, done.stderr
    assert "import torch fails because of torch_broken, which torch loads" in done.stderr
    assert "no libfirmware.so.3" in done.stderr
    assert "uninstall torch_broken; until then set TORCH_DEVICE_BACKEND_AUTOLOAD=0" in done.stderr
    assert "should not happen" not in done.stderr
    machine.environment = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    if words == ("devices",):
        assert machine.unisono(*words).returncode == 0


def test_without_torch_the_doctor_still_speaks(machine: Machine) -> None:
    machine.install("torch", "raise ImportError('this torch is broken')")
    (only_one,) = machine.findings(status=1)["import torch"]
    assert "this torch is broken" in only_one["what"]


def test_a_package_that_is_to_be_ignored_brings_nothing(machine: Machine) -> None:
    code = "from unisono.hardware.devices.cpu import CpuHardware\n\n\nclass Fast(CpuHardware):\n"
    code += "    @classmethod\n    def diagnose(cls):\n        return ()\n"
    machine.install("faster_cpu", code, entry_points="[unisono.hardware]\ncpu = faster_cpu:Fast\n")
    levels = {finding["level"] for finding in machine.findings(status=0)["cpu"]}
    assert "note" not in levels
    machine.environment = {"UNISONO_IGNORE_PACKAGES": "unisono-cpu,Faster.CPU"}
    (note,) = (one for one in machine.findings(status=0)["cpu"] if one["level"] == "note")
    assert "unisono-cpu" in note["what"]


def test_ops_of_another_table_are_not_used(machine: Machine) -> None:
    code = "from dataclasses import replace\n"
    code += "from unisono.hardware.devices.cpu import CpuHardware\n\n\n"
    code += "class Old(CpuHardware):\n    facts = replace(CpuHardware.facts, op_table=1)\n"
    machine.install("faster_cpu", code, entry_points="[unisono.hardware]\ncpu = faster_cpu:Old\n")
    problem = only(machine.findings(status=1)["cpu"], "problem")
    assert "faster_cpu is for op table 1, this unisono has" in problem["what"]
    assert "UNISONO_IGNORE_PACKAGES=faster_cpu" in problem["what"]
    machine.environment = {"UNISONO_IGNORE_PACKAGES": "unisono-cpu,faster_cpu"}
    assert "ok" in {finding["level"] for finding in machine.findings(status=0)["cpu"]}


def test_ops_for_no_stated_table_are_not_used(machine: Machine) -> None:
    code = "from unisono.hardware import CpuHardware, CpuOps\n\n\nclass Ops(CpuOps):\n"
    code += "    def plan_attention(self, step, kv):\n        return None\n\n\n"
    code += "class Silent(CpuHardware):\n    ops_class = Ops\n"
    machine.install(
        "faster_cpu", code, entry_points="[unisono.hardware]\ncpu = faster_cpu:Silent\n"
    )
    problem = only(machine.findings(status=1)["cpu"], "problem")
    assert "faster_cpu has ops of its own and does not say for which op table" in problem["what"]
    advice = "its facts must state op_table; until then set UNISONO_IGNORE_PACKAGES=faster_cpu"
    assert advice in problem["what"]
