"""The runtime of a device: functions of torch, whichever way its build offers them.

``torch.accelerator`` is asked where the device is the process's accelerator, then the device's own
module. Builds of different years and vendors lack different parts: what none offers is ``None``, or
an error that says so - never a made-up number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unisono.core.errors import HardwareError
from unisono.hardware.facts import Facts

_LACKS_IT = (RuntimeError, NotImplementedError, AttributeError, AssertionError, TypeError)
"""Errors of a build that has the name and not the thing, or has it with other arguments."""


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


class Runtime:
    """The driver of a device, asked through torch."""

    facts: ClassVar[Facts]
    device: torch.device
    index: int

    @classmethod
    def device_module(cls) -> Any:
        """The module that answers for the device where ``torch.accelerator`` does not:
        ``torch.<device_type>`` unless overridden, with any object that has some of those
        functions. None: there is none. Asked once ``import_module`` is imported."""
        return getattr(torch, cls.facts.device_type, None)

    @classmethod
    def count(cls) -> int:
        """Number of devices of this kind."""
        return int(cls._require("device_count")())

    @classmethod
    def describe(cls, index: int) -> str:
        """The device's own name, or that of the hardware where nothing knows it."""
        name = cls._ask("get_device_name", index=index)
        if name is None:
            name = getattr(cls._ask("get_device_properties", index=index), "name", None)
        return str(name or cls.facts.name)

    def memory(self) -> MemoryInfo:
        """Free and total memory now.

        Raises:
            HardwareError: no way to ask, or an answer that cannot be true.
        """
        answer = self._ask("get_memory_info", "mem_get_info", index=self.index)
        if answer is None:
            answer = self._memory_from_properties()
        if answer is None:
            raise HardwareError(f"{self.device} does not say how much memory it has.")
        free, total = (int(number) for number in answer)
        if total <= 0 or not 0 <= free <= total:
            raise HardwareError(f"{self.device} reports {free} bytes free of {total}.")
        return MemoryInfo(free, total)

    def _memory_from_properties(self) -> tuple[int, int] | None:
        """The whole less what torch took; None where either is unknown."""
        properties = self._ask("get_device_properties", index=self.index)
        total, use = getattr(properties, "total_memory", None), self.memory_use()
        taken = use.allocated if use.reserved is None else use.reserved
        return None if total is None or taken is None else (int(total) - taken, int(total))

    def memory_use(self) -> MemoryUse:
        """Bytes that torch has taken of it in this process, and the most so far."""
        names = ("memory_allocated", "memory_reserved", "max_memory_allocated")
        found = [self._ask(name, index=self.index) for name in names]
        return MemoryUse(*(None if count is None else int(count) for count in found))

    def reset_peak_memory(self) -> None:
        """Let ``memory_use().peak_allocated`` start again."""
        self._ask("reset_peak_memory_stats", index=self.index)

    def release_cached(self) -> None:
        """Give back memory that torch keeps for later."""
        with self.activate():
            self._ask("empty_cache")

    def synchronize(self) -> None:
        """Wait until all work handed to the device is done."""
        self._require("synchronize")(self.index)

    def activate(self) -> AbstractContextManager[Any]:
        """Make this the current device of the thread."""
        context = next(self._ways("device_index", "device"), None)
        return self._set_for_a_while() if context is None else context(self.index)

    @contextmanager
    def _set_for_a_while(self) -> Iterator[None]:
        """A context in which this is the thread's current device, and behind which the one before
        is again: for a module that can set the device and has no such context of its own."""
        before, set_device = int(self._require("current_device")()), self._require("set_device")
        set_device(self.index)
        try:
            yield
        finally:
            set_device(before)

    def new_stream(self) -> Any:
        """A queue beside the default one; None where there are none."""
        return self._first_proved(
            "synchronize",
            lambda: torch.Stream(self.device),
            lambda: self._require("Stream")(self.device),
        )

    def on_stream(self, stream: Any) -> AbstractContextManager[Any]:
        """Work started inside goes to ``stream``."""
        enter = getattr(self.device_module(), "stream", None)
        return stream if enter is None else enter(stream)

    def new_event(self, *, timing: bool = False) -> Any:
        """A mark in a stream (``record``, ``synchronize``, ``elapsed_time`` in ms) or None."""
        return self._first_proved(
            "record",
            lambda: torch.Event(self.device, enable_timing=timing),
            lambda: self._require("Event")(enable_timing=timing),
        )

    def seed(self, number: int) -> None:
        """Start the default generator from ``number``. The engine does not draw from it:
        sampling counts (``core.random``)."""
        with self.activate():
            self._require("manual_seed")(number)

    # -- the ways to ask --------------------------------------------------------------------

    @classmethod
    def _ways(cls, *names: str) -> Iterator[Callable[..., Any]]:
        """Functions of these names, those of torch.accelerator before the device's own."""
        accelerator = torch.accelerator.current_accelerator()
        is_general = accelerator is not None and accelerator.type == cls.facts.device_type
        for holder in (torch.accelerator if is_general else None, cls.device_module()):
            for name in names:
                function = getattr(holder, name, None)
                if callable(function):
                    yield function

    @classmethod
    def _ask(cls, *names: str, index: int | None = None) -> Any:
        """The first answer that one of the ways gives; None where all lack it or fail."""
        for function in cls._ways(*names):
            try:
                return function() if index is None else function(index)
            except _LACKS_IT:
                continue
        return None

    @classmethod
    def _require(cls, name: str) -> Callable[..., Any]:
        for function in cls._ways(name):
            return function
        raise HardwareError(f"torch offers no {name} for {cls.facts.device_type}.")

    def _first_proved(self, proof: str, *ways: Callable[[], Any]) -> Any:
        """The first thing that can be made, and used by its method ``proof``: there are builds
        whose events can be made and do nothing. None: there is none."""
        with self.activate():
            for make in ways:
                try:
                    made = make()
                    getattr(made, proof)()
                    return made
                except (HardwareError, *_LACKS_IT):
                    continue
        return None
