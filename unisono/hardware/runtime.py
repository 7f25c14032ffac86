"""What torch can do with a device, whichever way its build offers it.

``torch.accelerator`` is asked where the device is the process's accelerator, then the device's own
module (``torch.npu``, ...). Builds of different years and vendors lack different parts: what none
offers is ``None``, or an error that says so - never a made-up number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from unisono.core.errors import HardwareError

__all__ = [
    "MemoryInfo",
    "MemoryUse",
    "activate",
    "capability",
    "device_count",
    "device_name",
    "memory_info",
    "memory_use",
    "new_event",
    "new_stream",
    "on_stream",
    "release_cached",
    "reset_peak_memory",
    "rng_state",
    "seed",
    "set_rng_state",
    "synchronize",
]


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """Bytes of the device, whoever uses them."""

    free: int
    total: int


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes that torch uses in this process; None where the build does not count."""

    allocated: int | None
    reserved: int | None
    peak_allocated: int | None


def device_count(device_type: str) -> int:
    """Number of devices, as the device's module says it."""
    return int(_require(device_type, "device_count")())


def device_name(device: torch.device, default: str) -> str:
    """The device's own name, or ``default`` where nothing knows it."""
    name = _ask(device.type, ("get_device_name",), device.index or 0)
    if name is None:
        name = getattr(_properties(device), "name", None)
    return str(name or default)


def memory_info(device: torch.device) -> MemoryInfo:
    """Free and total memory.

    Raises:
        HardwareError: no way to ask, or an answer that cannot be true.
    """
    answer = _ask(device.type, ("get_memory_info", "mem_get_info"), device.index or 0)
    if answer is None:
        answer = _memory_from_properties(device)
    if answer is None:
        raise HardwareError(f"{device} does not say how much memory it has.")
    free, total = (int(number) for number in answer)
    if total <= 0 or not 0 <= free <= total:
        raise HardwareError(f"{device} reports {free} bytes free of {total}.")
    return MemoryInfo(free, total)


def memory_use(device: torch.device) -> MemoryUse:
    """What torch has allocated and reserved on the device."""

    def read(*names: str) -> int | None:
        value = _ask(device.type, names, device.index or 0)
        return None if value is None else int(value)

    return MemoryUse(
        read("memory_allocated"), read("memory_reserved"), read("max_memory_allocated")
    )


def reset_peak_memory(device: torch.device) -> None:
    """Let the peak start again from what is allocated now."""
    _ask(device.type, ("reset_peak_memory_stats",), device.index or 0)


def release_cached(device: torch.device) -> None:
    """Give back memory that torch keeps for later."""
    with activate(device):
        _ask(device.type, ("empty_cache",))


def synchronize(device: torch.device) -> None:
    """Wait until all work handed to the device is done."""
    _require(device.type, "synchronize")(device.index or 0)


@contextmanager
def activate(device: torch.device) -> Iterator[None]:
    """The device becomes the thread's current one, and the former one again."""
    context = _switch(device)
    with context:
        yield


def new_stream(device: torch.device) -> Any:
    """A queue of its own on the device; None where there are none."""
    with activate(device):
        return _first_made(
            lambda: torch.Stream(device), lambda: _require(device.type, "Stream")(device)
        )


def on_stream(device: torch.device, stream: Any) -> AbstractContextManager[Any]:
    """Work started inside goes to ``stream``."""
    enter = getattr(torch.get_device_module(device.type), "stream", None)
    return enter(stream) if enter is not None else stream


def new_event(device: torch.device, *, timing: bool = False) -> Any:
    """A mark in a stream; None where there are none."""
    with activate(device):
        return _first_made(
            lambda: torch.Event(device, enable_timing=timing),
            lambda: _require(device.type, "Event")(enable_timing=timing),
        )


def seed(device: torch.device, number: int) -> None:
    """Start the device's default generator from ``number``."""
    with activate(device):
        _require(device.type, "manual_seed")(number)


def rng_state(device: torch.device) -> torch.Tensor | None:
    """State of the default generator (bytes, on the host), where it can be read."""
    state = _ask(device.type, ("get_rng_state",), device.index or 0)
    return state if isinstance(state, torch.Tensor) else None


def set_rng_state(device: torch.device, state: torch.Tensor) -> None:
    """Go back to a state that ``rng_state`` gave."""
    _require(device.type, "set_rng_state")(state, device.index or 0)


def capability(device: torch.device) -> dict[str, Any]:
    """What ``torch.accelerator.get_device_capability`` says, such as ``supported_dtypes``."""
    answer = _ask(device.type, ("get_device_capability",), device.index or 0)
    return answer if isinstance(answer, dict) else {}


# -- the ways to ask ----------------------------------------------------------------------------


def _holders(device_type: str) -> Iterator[Any]:
    """Where a call may be found, the general before the particular."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None and accelerator.type == device_type:
        yield torch.accelerator
    module = getattr(torch, device_type, None)
    if module is not None:
        yield module


def _ask(device_type: str, names: tuple[str, ...], *arguments: Any) -> Any:
    """The first answer that one of the ways gives; None where all lack it or fail."""
    for holder in _holders(device_type):
        for name in names:
            function = getattr(holder, name, None)
            if callable(function):
                try:
                    return function(*arguments)
                except (RuntimeError, NotImplementedError, AttributeError, AssertionError):
                    continue  # a build that has the name and not the thing
                except TypeError:
                    continue  # or has it with other arguments
    return None


def _require(device_type: str, name: str) -> Callable[..., Any]:
    for holder in _holders(device_type):
        function = getattr(holder, name, None)
        if callable(function):
            return function
    raise HardwareError(f"torch offers no {name} for {device_type}.")


def _first_made(*ways: Callable[[], Any]) -> Any:
    for way in ways:
        try:
            return way()
        except (HardwareError, RuntimeError, NotImplementedError, TypeError, AssertionError):
            continue
    return None


def _switch(device: torch.device) -> AbstractContextManager[Any]:
    index = device.index or 0
    for holder in _holders(device.type):
        for name in ("device_index", "device"):
            context = getattr(holder, name, None)
            if callable(context):
                return context(index)
    return _Restoring(device)


class _Restoring:
    """For modules that can set the current device and lack a context for it."""

    def __init__(self, device: torch.device) -> None:
        self._type, self._index = device.type, device.index or 0

    def __enter__(self) -> None:
        self._before = int(_require(self._type, "current_device")())
        _require(self._type, "set_device")(self._index)

    def __exit__(self, *_: object) -> None:
        _require(self._type, "set_device")(self._before)


def _properties(device: torch.device) -> Any:
    return _ask(device.type, ("get_device_properties",), device.index or 0)


def _memory_from_properties(device: torch.device) -> tuple[int, int] | None:
    """The whole less what torch took; None where either is unknown."""
    total = getattr(_properties(device), "total_memory", None)
    use = memory_use(device)
    taken = use.allocated if use.reserved is None else use.reserved
    return None if total is None or taken is None else (int(total) - taken, int(total))
