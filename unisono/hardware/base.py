"""The hardware contract: facts, runtime and ops of one kind of device.

A hardware file subclasses ``Hardware``, states its facts, overrides the few runtime calls its
driver does differently, and names its op table. It is found through the entry-point group
``unisono.hardware``; the built-in ones come the same way as a third party's.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unisono.core.errors import DeviceNotFoundError
from unisono.hardware.findings import Finding
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.runtime import MemoryUse, Runtime


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """One device; memory in bytes."""

    index: int
    description: str
    total_memory: int
    free_memory: int


class Hardware(Runtime):
    """One device, open for use. Subclasses set ``facts`` and, where they have ops, ``ops_class``.

    Raises:
        DeviceNotFoundError: (constructor) not on this machine; the message says why.
    """

    ops_class: ClassVar[type[PortableOps]] = PortableOps
    variant_variable: ClassVar[str | None] = None
    """The environment variable that chooses one of ``variants``."""
    shares_host_memory: ClassVar[bool] = False
    """True where the device reads the host's own pages, such as those of a mapped file."""

    def __init__(self, index: int = 0) -> None:
        reason = self.missing()
        name = f"{self.facts.name}:{index}"
        if reason is not None:
            raise DeviceNotFoundError(f"Device {name} is not here: {reason}.")
        if index >= self.count():
            here = ", ".join(f"{self.facts.name}:{i}" for i in range(min(8, self.count())))
            raise DeviceNotFoundError(
                f"Device {name} is not here: there are {self.count()} of them, counted from 0.",
                hint=f"Use {here}.",
            )
        self.index = index
        self.device = self._torch_device(index)
        self.ops = self.ops_class()

    @classmethod
    def open(cls, which: str) -> Hardware:
        """The device that ``NAME:which`` means; an index, counted from 0, unless overridden."""
        if which and not (which.isascii() and which.isdecimal()):
            raise DeviceNotFoundError(f"{cls.facts.name}:{which} is not a device: give a number.")
        return cls(int(which or 0))

    def _torch_device(self, index: int) -> torch.device:
        return torch.device(self.facts.device_type, index)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def name(self) -> str:
        """Name of the device as users write it: ``NAME:INDEX``."""
        return f"{self.facts.name}:{self.index}"

    # -- probing, without opening -----------------------------------------------------------

    @classmethod
    def missing(cls) -> str | None:
        """Reason why this kind of device cannot be used here; None where it can."""
        reason = import_plugin(cls.facts.import_module)
        if reason is not None:
            return reason
        module = cls.device_module()
        if module is None or not getattr(module, "is_available", lambda: True)():
            return f"torch finds no {cls.facts.device_type} device"
        return None if cls.count() > 0 else f"torch counts 0 {cls.facts.device_type} devices"

    @classmethod
    def survey(cls) -> tuple[DeviceReport, ...]:
        """All devices of this kind, for people who look."""
        memory = [cls(index).memory() for index in range(cls.count())]
        return tuple(
            DeviceReport(index, cls.describe(index), found.total, found.free)
            for index, found in enumerate(memory)
        )

    @classmethod
    def diagnose(cls) -> tuple[Finding, ...]:
        """Findings about this kind of device's own set-up, beyond what the facts can tell."""
        return ()

    @classmethod
    def variants(cls) -> tuple[str, ...]:
        """Other forms of its kernels that this device can run, such as those for an older
        instruction set; ``variant_variable`` set to one chooses it. `unisono check` runs each."""
        return ()

    def products_per_s(self, weights: str, dtype: str) -> float | None:
        """Operations per second of its own kernels' products with operands in registers, for
        weights in a held format ("auto": in ``dtype``); None where there is no such measure, and
        bench compares with a matrix product of torch."""
        return None

    # -- in the life of an engine -----------------------------------------------------------

    def use_threads(self, count: int) -> None:
        """Let ``count`` threads of the host compute; torch has one pool for the whole process."""
        torch.set_num_threads(count)

    def settle(self) -> None:
        """Called once, when the weights are in place and before the first step."""

    def end_step(self) -> None:
        """Called once for each step of the engine, when all of its ops have been given to the
        device and before it is waited for: where a lazy device starts to compute."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None] | None:
        """A recording of ``function`` that replays cheaply; None where there is no such thing."""
        return None

    def predicted_seconds(self) -> float | None:
        """Time that the published figures of an imitated chip allow for all work so far; None on
        a chip that is really there."""
        return None

    def prediction_note(self) -> str:
        """Reason why an imitated chip has no ``predicted_seconds``; else empty."""
        return ""


class HostHardware(Hardware):
    """Devices that share the host's memory and have no queue: nothing to select or wait for."""

    shares_host_memory = True

    def _torch_device(self, index: int) -> torch.device:
        return torch.device(self.facts.device_type)

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def count(cls) -> int:
        return 1

    @property
    def name(self) -> str:
        return self.facts.name

    def memory_use(self) -> MemoryUse:
        return MemoryUse(None, None, None)

    def reset_peak_memory(self) -> None:
        """Nothing is counted."""

    def release_cached(self) -> None:
        """Nothing is kept."""

    def synchronize(self) -> None:
        """Nothing runs behind the host's back."""

    def activate(self) -> AbstractContextManager[None]:
        return nullcontext()

    def new_stream(self) -> Any:
        return None

    def on_stream(self, stream: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def new_event(self, *, timing: bool = False) -> Any:
        return None

    def seed(self, number: int) -> None:
        torch.manual_seed(number)


def import_plugin(name: str | None) -> str | None:
    """Import a vendor's package, for an own ``missing``; why that fails, or None."""
    if name is None:
        return None
    try:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        needs = "" if name.startswith(error.name or name) else f" (it needs {error.name})"
        return f"{name} is not installed{needs}"
    except Exception as error:
        return f"{name} cannot be imported ({type(error).__name__}: {error})"
    return None
