"""A device whose module is not ``torch.<type>``, shaped like torch_xla: one override is enough."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from unisono.core.errors import DeviceNotFoundError
from unisono.hardware import Facts, Hardware, MemoryInfo, MemoryUse, import_plugin


class LazyModule:
    """A small adapter over such a package: no stream, no event, no count of bytes."""

    current = 0

    def device_count(self) -> int:
        return 2

    def current_device(self) -> int:
        return self.current

    def set_device(self, index: int) -> None:
        self.current = index

    def get_memory_info(self, index: int) -> tuple[int, int]:
        return 60 + index, 100

    def synchronize(self, index: int) -> None:
        self.waited_for = index

    def manual_seed(self, number: int) -> None:
        self.seeded = self.current, number

    def get_device_properties(self, index: int) -> Any:
        return SimpleNamespace(name=f"lazy {index}")


MODULE = LazyModule()


class LazyHardware(Hardware):
    facts = Facts(name="lazy", device_type="xla", import_module="torch_lazy_one")

    @classmethod
    def device_module(cls) -> Any:
        return MODULE


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_lazy_one", ModuleType("torch_lazy_one"))


@pytest.mark.usefixtures("_installed")
def test_every_default_asks_that_module() -> None:
    hardware = LazyHardware(1)
    assert LazyHardware.missing() is None
    assert (LazyHardware.count(), LazyHardware.describe(1)) == (2, "lazy 1")
    assert hardware.memory() == MemoryInfo(61, 100)
    assert [report.free_memory for report in LazyHardware.survey()] == [60, 61]
    assert hardware.memory_use() == MemoryUse(None, None, None)
    hardware.synchronize()
    assert MODULE.waited_for == 1
    hardware.seed(7)
    assert MODULE.seeded == (1, 7)
    assert MODULE.current == 0
    assert hardware.new_stream() is None
    assert hardware.new_event() is None
    with pytest.raises(DeviceNotFoundError, match="there are 2 of them"):
        LazyHardware(2)


def test_without_its_package_it_is_missing() -> None:
    assert LazyHardware.missing() == "torch_lazy_one is not installed"
    assert import_plugin("torch_lazy_one") == "torch_lazy_one is not installed"
    assert import_plugin(None) is None


@pytest.mark.usefixtures("_installed")
def test_a_module_may_say_that_nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LazyModule, "is_available", lambda self: False, raising=False)
    assert LazyHardware.missing() == "torch finds no xla device"
