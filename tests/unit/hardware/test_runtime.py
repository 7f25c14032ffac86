"""The adapter over torch's ways to a device, with modules as builds of several years have them."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from unisono.core.errors import HardwareError
from unisono.hardware.facts import Facts
from unisono.hardware.runtime import MemoryInfo, MemoryUse, Runtime


class OddRuntime(Runtime):
    """A runtime of a device type that torch does not know: no ``torch.device`` is made for it."""

    facts = Facts(name="unnamed", device_type="oddchip")
    device: Any = "oddchip:1"
    index = 1


ODD = OddRuntime()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """``torch.oddchip``, empty."""
    empty = SimpleNamespace()
    monkeypatch.setattr(torch, "oddchip", empty, raising=False)
    return empty


def test_the_newest_name_is_asked_first(module: SimpleNamespace) -> None:
    module.mem_get_info = lambda index: (1, 2)
    assert ODD.memory() == MemoryInfo(1, 2)
    module.get_memory_info = lambda index: (index, 10)
    assert ODD.memory() == MemoryInfo(1, 10)


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, AssertionError, TypeError])
def test_a_name_without_the_thing_is_passed_over(
    module: SimpleNamespace, error: type[Exception]
) -> None:
    def fails(index: int) -> tuple[int, int]:
        raise error("not in this build")

    module.get_memory_info = fails
    module.mem_get_info = lambda index: (3, 4)
    assert ODD.memory().total == 4


def test_memory_from_the_whole_less_what_torch_took(module: SimpleNamespace) -> None:
    module.get_device_properties = lambda index: SimpleNamespace(total_memory=100, name="Odd 9")
    with pytest.raises(HardwareError, match="oddchip:1 does not say how much memory"):
        ODD.memory()
    module.memory_allocated = lambda index: 30
    assert ODD.memory() == MemoryInfo(70, 100)
    assert ODD.describe(1) == "Odd 9"


@pytest.mark.parametrize("answer", [(0, 0), (5, 4), (-1, 4)])
def test_an_answer_that_cannot_be_true(module: SimpleNamespace, answer: tuple[int, int]) -> None:
    module.mem_get_info = lambda index: answer
    with pytest.raises(HardwareError, match="reports"):
        ODD.memory()


def test_what_is_not_counted_is_none(module: SimpleNamespace) -> None:
    assert ODD.memory_use() == MemoryUse(None, None, None)
    module.memory_allocated = lambda index: 7
    assert ODD.memory_use() == MemoryUse(7, None, None)
    assert ODD.describe(1) == "unnamed"


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    "call", [ODD.synchronize, lambda: ODD.seed(1), ODD.release_cached, OddRuntime.count]
)
def test_what_cannot_be_done_without_is_an_error(call: Any) -> None:
    with pytest.raises(HardwareError, match=r"torch offers no .* for oddchip"):
        call()


def test_a_module_without_a_context_for_the_current_device(module: SimpleNamespace) -> None:
    current = [0]
    module.current_device = lambda: current[0]
    module.set_device = lambda index: current.__setitem__(0, index)
    with ODD.activate():
        assert current == [1]
    assert current == [0]


class Unusable:
    """Can be made and not used, as an event or a stream of a build that lacks them."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def record(self) -> None:
        raise RuntimeError("Backend doesn't support events.")

    def synchronize(self) -> None:
        raise RuntimeError("Backend doesn't support synchronizing streams.")


def test_what_can_be_made_and_not_used_is_not_there(
    module: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.device = lambda index: contextlib.nullcontext()
    monkeypatch.setattr(torch, "Event", Unusable)
    monkeypatch.setattr(torch, "Stream", Unusable)
    assert ODD.new_event() is None
    assert ODD.new_stream() is None
    module.Event = module.Stream = lambda *_, **__: MagicMock(name="usable")
    assert ODD.new_event() is not None
    assert ODD.new_stream() is not None


def test_facts_name_only_known_features() -> None:
    with pytest.raises(ValueError, match="unknown features magic"):
        Facts(name="x", device_type="x", features=frozenset({"magic"}))
    assert Facts(name="x", device_type="x", features=("fp8",)).features == ("fp8",)
    with pytest.raises(ValueError, match="unknown dtypes bf16; known: bfloat16"):
        Facts(name="x", device_type="x", dtypes=("bf16",))
    with pytest.raises(ValueError, match="must be a tuple or a set"):
        Facts(name="x", device_type="x", features="fp8")
    with pytest.raises(ValueError, match="no dtypes"):
        Facts(name="x", device_type="x", dtypes=())
