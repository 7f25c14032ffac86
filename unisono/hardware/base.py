"""The hardware contract: facts, runtime and ops of one kind of device.

A hardware file subclasses ``Hardware``, states its facts, overrides the few runtime calls its
driver does differently, and names its op table. It is found through the entry-point group
``unisono.hardware``; the built-in ones come the same way as a third party's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from unisono.core.errors import DeviceNotFoundError
from unisono.hardware.portable import PortableOps

__all__ = ["Facts", "Hardware", "HostHardware", "MemoryInfo", "Status"]

Status = Literal["verified", "unverified"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is true of a kind of device before one is touched. Defaults are conservative."""

    name: str
    """What ``--device`` calls it."""
    device_type: str
    """What ``torch.device`` calls it."""
    import_module: str | None = None
    """The package that brings the device to torch, such as ``torch_npu``."""
    dtypes: tuple[str, ...] = ("float32",)
    """Supported for weights and KV cache, best first."""
    kv_block_size: int = 16
    """Preferred tokens in a KV block."""
    distributed_backend: str | None = None
    visible_devices_variable: str | None = None
    ray_resource: str | None = None
    features: frozenset[str] = field(default_factory=frozenset)
    """Of: graphs, pinned_memory, async_copy, triton, fp8, int4."""
    detection_order: int = 50
    """Lower is asked first; out-of-tree devices come before those that they may imitate."""
    status: Status = "unverified"
    """``verified`` only with a capability card from the real device in the repository."""


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """Bytes."""

    free: int
    total: int


class Hardware:
    """One device, open for use. Subclasses set ``facts`` and ``ops_class``.

    Raises:
        DeviceNotFoundError: (constructor) not on this machine; the message says why.
    """

    facts: Facts
    ops_class: type[PortableOps] = PortableOps
    shares_host_memory: bool = False
    """Whether the device reads the host's own pages, such as those of a mapped file."""

    def __init__(self, index: int = 0) -> None:
        reason = self.missing()
        if reason is None and index >= self.count():
            reason = f"there are {self.count()} of them, counted from 0"
        if reason is not None:
            raise DeviceNotFoundError(f"Device {self.facts.name}:{index} is not here: {reason}.")
        self.index = index
        self.device = self._torch_device(index)
        self.ops = self.ops_class()

    def _torch_device(self, index: int) -> torch.device:
        return torch.device(self.facts.device_type, index)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def name(self) -> str:
        """As the user would write it."""
        return f"{self.facts.name}:{self.index}"

    # -- probing, without opening -----------------------------------------------------------

    @classmethod
    def missing(cls) -> str | None:
        """Why this kind of device cannot be used here; None where it can."""
        if cls.facts.import_module is not None:
            try:
                importlib.import_module(cls.facts.import_module)
            except ImportError as error:
                return f"{cls.facts.import_module} cannot be imported ({error})"
        module = getattr(torch, cls.facts.device_type, None)
        if module is None or not module.is_available():
            return f"torch finds no {cls.facts.device_type} device"
        return None

    @classmethod
    def count(cls) -> int:
        """Number of devices of this kind."""
        return int(torch.get_device_module(cls.facts.device_type).device_count())

    @classmethod
    def describe(cls, index: int) -> str:
        """The device's own name."""
        module = torch.get_device_module(cls.facts.device_type)
        return str(getattr(module, "get_device_name", lambda _: cls.facts.name)(index))

    # -- runtime ----------------------------------------------------------------------------

    def memory(self) -> MemoryInfo:
        """Free and total memory now."""
        free, total = torch.accelerator.get_memory_info(self.index)
        return MemoryInfo(free, total)

    def synchronize(self) -> None:
        """Wait until all work handed to the device is done."""
        torch.accelerator.synchronize(self.index)

    def activate(self) -> AbstractContextManager[Any]:
        """Make this the current device of the thread."""
        return torch.accelerator.device_index(self.index)

    def settle(self) -> None:
        """Called once, when the weights are in place and before the first step."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None] | None:
        """A recording of ``function`` that replays cheaply; None where there is no such thing."""
        return None


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

    def synchronize(self) -> None:
        """Nothing runs behind the host's back."""

    def activate(self) -> AbstractContextManager[Any]:
        return nullcontext()
