"""The device as unisono's hardware: names, chips, what is asked without loading it."""

from __future__ import annotations

import json

import pytest
from unisono_virtual.chips import MEMORY_VARIABLE, imitate, split_choice

from tests.integration.virtual.children import run
from unisono.core.errors import ConfigError, SpecError
from unisono.hardware.specs import find_spec

ASK = """
import json, torch
from unisono.hardware import discover
report = next(r for r in discover() if r.name == "virtual")
print(json.dumps({
    "present": report.present, "devices": len(report.devices),
    "memory": report.devices[0].total_memory,
    "name": torch._C._get_privateuse1_backend_name(),
    "loaded": hasattr(torch.ops.unisono_virtual, "report"),
}))
"""

OPEN = """
import json, sys, torch
from unisono.hardware import find_hardware
hardware = find_hardware(sys.argv[1])
with hardware.activate():
    x = torch.ones(1000, 1000, device=hardware.device) * 2
hardware.synchronize()
print(json.dumps({
    "name": hardware.name, "device": str(x.device), "title": type(hardware).describe(0),
    "memory": hardware.memory().total, "seconds": hardware.predicted_seconds(),
}))
"""

REFUSED = """
import unisono_virtual
from unisono.core.errors import HardwareError
unisono_virtual.install()
unisono_virtual.install()
try:
    unisono_virtual.install(chip="h200")
except HardwareError as error:
    print(error)
from unisono.hardware import find_hardware
try:
    find_hardware("virtual:h100")
except HardwareError as error:
    print(error)
"""

STAND_IN = """
import json, torch, unisono_virtual
from unisono.hardware.devices.npu import NpuHardware
from unisono.hardware.runtime import Runtime
from unisono_virtual.hardware import VirtualHardware
unisono_virtual.install("npu", lacking=(
    "get_memory_info", "accelerator.memory_allocated", "Event"
))
device = torch.device("npu:1")
class StandIn(Runtime):
    facts, index = NpuHardware.facts, 1
x = torch.ones(3, device=device)
answers = {}
for name, holder in (("accelerator", torch.accelerator), ("npu", torch.npu)):
    for asked in ("get_memory_info", "memory_allocated"):
        try:
            getattr(holder, asked)()
            answers[f"{name}.{asked}"] = "answered"
        except Exception as error:
            answers[f"{name}.{asked}"] = type(error).__name__ + ": " + str(error).splitlines()[0]
print(json.dumps({
    "x": str(x.device), "is": x.is_npu, "lacks": hasattr(torch.npu, "Event"), "answers": answers,
    "total": StandIn().memory().total > 0,
    "why": VirtualHardware.missing(),
}))
"""


def test_looking_loads_nothing() -> None:
    told = json.loads(run(ASK))
    assert told["present"]
    assert told["devices"] == 2
    assert told["memory"] == imitate(None).memory_bytes
    assert told["name"] == "privateuseone"
    assert not told["loaded"]


def test_auto_never_takes_it() -> None:
    program = "from unisono.hardware import find_hardware; print(find_hardware().name)"
    assert run(program).strip() != "virtual:0"


@pytest.mark.parametrize(
    ("asked", "name", "device"),
    [
        ("virtual", "virtual:0", "virtual:0"),
        ("virtual:1", "virtual:1", "virtual:1"),
        ("virtual:h200", "virtual:h200:0", "virtual:0"),
        ("virtual:ascend-910b:1", "virtual:ascend-910b:1", "virtual:1"),
    ],
)
def test_names(asked: str, name: str, device: str) -> None:
    told = json.loads(run(OPEN, asked))
    assert (told["name"], told["device"]) == (name, device)


def test_a_chip_lends_its_figures() -> None:
    told, spec = json.loads(run(OPEN, "virtual:h200")), find_spec("h200")
    assert told["title"] == spec.name
    assert told["memory"] == spec.base("memory")
    assert told["seconds"] == pytest.approx(3 * 4e6 / (spec.base("memory_bandwidth") or 0))


def test_an_unknown_bandwidth_predicts_nothing() -> None:
    assert json.loads(run(OPEN, "virtual:br106"))["seconds"] is None


def test_choices_are_read() -> None:
    assert split_choice("") == (None, 0)
    assert split_choice("1") == (None, 1)
    assert split_choice("h200") == ("h200", 0)
    assert split_choice("h200:3") == ("h200", 3)


def test_memory_comes_from_the_caller_the_environment_the_chip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(MEMORY_VARIABLE, raising=False)
    assert imitate("h200").memory_bytes == 141 << 30
    assert imitate("br106").memory_bytes == 32512 << 20  # measured; none is published
    assert imitate("br110").memory_bytes == imitate(None).memory_bytes
    monkeypatch.setenv(MEMORY_VARIABLE, "3GiB")
    assert imitate("h200").memory_bytes == 3 << 30
    assert imitate("h200", 5).memory_bytes == 5
    monkeypatch.setenv(MEMORY_VARIABLE, "much")
    with pytest.raises(ConfigError, match="no size"):
        imitate(None)


def test_unknown_chips_are_refused() -> None:
    with pytest.raises(SpecError, match="h201"):
        imitate("h201")


def test_one_device_a_process() -> None:
    lines = run(REFUSED).splitlines()
    assert len(lines) == 2
    assert all("other settings" in line for line in lines)


def test_it_stands_in_for_an_older_plugin() -> None:
    told = json.loads(run(STAND_IN))
    assert told["x"] == "npu:1"
    assert told["is"]
    assert not told["lacks"]
    assert told["total"]
    assert told["why"] == "in this process it stands in for npu"
    answers = told["answers"]
    assert answers["accelerator.get_memory_info"].startswith("RuntimeError")
    assert "is not a DeviceAllocator" in answers["accelerator.memory_allocated"]
    assert answers["npu.get_memory_info"].startswith("AttributeError")
    assert answers["npu.memory_allocated"] == "answered"
