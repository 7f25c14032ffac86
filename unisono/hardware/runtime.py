"""Functions of torch for a device, whichever way its build offers them.

``torch.accelerator`` is asked where the device is the process's accelerator, then the device's own
module: ``torch.<device type>``, or the ``module`` that is given. Builds of different years and
vendors lack different parts: what none offers is ``None``, or an error that says so - never a
made-up number.
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
    "device_module",
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


def device_module(device_type: str, module: Any = None) -> Any:
    """``module``, or ``torch.<device_type>``; None where there is neither."""
    return getattr(torch, device_type, None) if module is None else module


def device_count(device_type: str, module: Any = None) -> int:
    """Number of devices, as the device's module says it."""
    return int(_require(device_type, module, "device_count")())


def device_name(device: torch.device, default: str, module: Any = None) -> str:
    """The device's own name, or ``default`` where nothing knows it."""
    name = _ask(device.type, module, ("get_device_name",), device.index or 0)
    if name is None:
        name = getattr(_properties(device, module), "name", None)
    return str(name or default)


def memory_info(device: torch.device, module: Any = None) -> MemoryInfo:
    """Free and total memory.

    Raises:
        HardwareError: no way to ask, or an answer that cannot be true.
    """
    answer = _ask(device.type, module, ("get_memory_info", "mem_get_info"), device.index or 0)
    if answer is None:
        answer = _memory_from_properties(device, module)
    if answer is None:
        raise HardwareError(f"{device} does not say how much memory it has.")
    free, total = (int(number) for number in answer)
    if total <= 0 or not 0 <= free <= total:
        raise HardwareError(f"{device} reports {free} bytes free of {total}.")
    return MemoryInfo(free, total)


def memory_use(device: torch.device, module: Any = None) -> MemoryUse:
    """Bytes that torch has allocated and reserved on the device."""

    def read(*names: str) -> int | None:
        value = _ask(device.type, module, names, device.index or 0)
        return None if value is None else int(value)

    return MemoryUse(
        read("memory_allocated"), read("memory_reserved"), read("max_memory_allocated")
    )


def reset_peak_memory(device: torch.device, module: Any = None) -> None:
    """Let the peak start again from what is allocated now."""
    _ask(device.type, module, ("reset_peak_memory_stats",), device.index or 0)


def release_cached(device: torch.device, module: Any = None) -> None:
    """Give back memory that torch keeps for later."""
    with activate(device, module):
        _ask(device.type, module, ("empty_cache",))


def synchronize(device: torch.device, module: Any = None) -> None:
    """Wait until all work handed to the device is done."""
    _require(device.type, module, "synchronize")(device.index or 0)


@contextmanager
def activate(device: torch.device, module: Any = None) -> Iterator[None]:
    """The device becomes the thread's current one, and the former one again."""
    context = _switch(device, module)
    with context:
        yield


def new_stream(device: torch.device, module: Any = None) -> Any:
    """A queue of its own on the device; None where there are none."""
    with activate(device, module):
        return _first_made(
            lambda: _awaited(torch.Stream(device)),
            lambda: _awaited(_require(device.type, module, "Stream")(device)),
        )


def on_stream(device: torch.device, stream: Any, module: Any = None) -> AbstractContextManager[Any]:
    """Work started inside goes to ``stream``."""
    enter = getattr(device_module(device.type, module), "stream", None)
    return enter(stream) if enter is not None else stream


def new_event(device: torch.device, module: Any = None, *, timing: bool = False) -> Any:
    """A mark in a stream; None where there are none."""
    with activate(device, module):
        return _first_made(
            lambda: _recorded(torch.Event(device, enable_timing=timing)),
            lambda: _recorded(_require(device.type, module, "Event")(enable_timing=timing)),
        )


def seed(device: torch.device, number: int, module: Any = None) -> None:
    """Start the device's default generator from ``number``."""
    with activate(device, module):
        _require(device.type, module, "manual_seed")(number)


def rng_state(device: torch.device, module: Any = None) -> torch.Tensor | None:
    """State of the default generator (bytes, on the host), where it can be read."""
    state = _ask(device.type, module, ("get_rng_state",), device.index or 0)
    return state if isinstance(state, torch.Tensor) else None


def set_rng_state(device: torch.device, state: torch.Tensor, module: Any = None) -> None:
    """Go back to a state that ``rng_state`` gave."""
    _require(device.type, module, "set_rng_state")(state, device.index or 0)


def capability(device: torch.device, module: Any = None) -> dict[str, Any]:
    """The answer of ``torch.accelerator.get_device_capability``, such as ``supported_dtypes``."""
    answer = _ask(device.type, module, ("get_device_capability",), device.index or 0)
    return answer if isinstance(answer, dict) else {}


# -- the ways to ask ----------------------------------------------------------------------------


def _holders(device_type: str, module: Any) -> Iterator[Any]:
    """Modules that may have a call, the general one before the device's own."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None and accelerator.type == device_type:
        yield torch.accelerator
    own = device_module(device_type, module)
    if own is not None:
        yield own


def _ask(device_type: str, module: Any, names: tuple[str, ...], *arguments: Any) -> Any:
    """The first answer that one of the ways gives; None where all lack it or fail."""
    for holder in _holders(device_type, module):
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


def _require(device_type: str, module: Any, name: str) -> Callable[..., Any]:
    for holder in _holders(device_type, module):
        function = getattr(holder, name, None)
        if callable(function):
            return function
    raise HardwareError(f"torch offers no {name} for {device_type}.")


def _recorded(event: Any) -> Any:
    """Proved by use: there are builds whose events can be made and do nothing."""
    event.record()
    return event


def _awaited(stream: Any) -> Any:
    stream.synchronize()
    return stream


def _first_made(*ways: Callable[[], Any]) -> Any:
    for way in ways:
        try:
            return way()
        except (HardwareError, RuntimeError, NotImplementedError, TypeError, AssertionError):
            continue
    return None


def _switch(device: torch.device, module: Any) -> AbstractContextManager[Any]:
    index = device.index or 0
    for holder in _holders(device.type, module):
        for name in ("device_index", "device"):
            context = getattr(holder, name, None)
            if callable(context):
                return context(index)
    return _Restoring(device, module)


class _Restoring:
    """For modules that can set the current device and lack a context for it."""

    def __init__(self, device: torch.device, module: Any) -> None:
        self._type, self._index, self._module = device.type, device.index or 0, module

    def __enter__(self) -> None:
        self._before = int(_require(self._type, self._module, "current_device")())
        _require(self._type, self._module, "set_device")(self._index)

    def __exit__(self, *_: object) -> None:
        _require(self._type, self._module, "set_device")(self._before)


def _properties(device: torch.device, module: Any) -> Any:
    return _ask(device.type, module, ("get_device_properties",), device.index or 0)


def _memory_from_properties(device: torch.device, module: Any) -> tuple[int, int] | None:
    """The whole less what torch took; None where either is unknown."""
    total = getattr(_properties(device, module), "total_memory", None)
    use = memory_use(device, module)
    taken = use.allocated if use.reserved is None else use.reserved
    return None if total is None or taken is None else (int(total) - taken, int(total))
