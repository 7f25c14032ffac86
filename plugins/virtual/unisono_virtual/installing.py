"""Brings the device into the process: loads it, names it, gives it its module."""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils import backend_registration

from unisono.core.errors import ConfigError, HardwareError
from unisono.hardware import register_bridge
from unisono_virtual import building, faults
from unisono_virtual.chips import imitate
from unisono_virtual.device_module import make_module
from unisono_virtual.python_device import open_in_python
from unisono_virtual.settings import Settings, installed, remember

_torch: Any = torch

_MOST_DEVICES = 64
_REST_S = 0.05
"""Before the interpreter ends. Autograd has a thread for the device that drops what the last
backward pass left; one that wants the interpreter's lock by then takes the process down."""
_STATISTICS = {
    "memory_stats",
    "memory_allocated",
    "memory_reserved",
    "max_memory_allocated",
    "max_memory_reserved",
}


def install(
    name: str = "virtual",
    chip: str | None = None,
    memory_bytes: int | None = None,
    num_devices: int = 2,
    faults: Iterable[str] = (),
    lacking: Iterable[str] = (),
) -> Settings:
    """Make ``torch.device(name)`` work in this process; the device is compiled on first use,
    or runs in Python where there is no compiler (``python_device.HOLES`` says what it lacks then).

    name: what torch calls it; a vendor's string (``npu``, ``supa``, ...) lets it stand in.
    chip: of the spec ledger, whose memory and rates it shows; None for none.
    memory_bytes: of each device; None takes the chip's.
    faults: planted faults by name; more may come from ``UNISONO_VIRTUAL_FAULTS``.
    lacking: what older plugins lack: names that are left out of ``torch.<name>`` and, of the
        memory calls, fail in ``torch.accelerator``; ``accelerator.NAME`` fails there alone.

    Raises:
        HardwareError: this process has such a device already, with other settings or another's.
        BuildError: it cannot be compiled.
        SpecError: no such chip.
        ConfigError: no such fault, or a number of devices that cannot be.
    """
    if not 1 <= num_devices <= _MOST_DEVICES:
        raise ConfigError(f"num_devices is {num_devices}; it can be 1 to {_MOST_DEVICES}.")
    compiled = building.can_build()
    wanted = Settings(
        name=name,
        imitation=imitate(chip, memory_bytes),
        num_devices=num_devices if compiled else 1,
        faults=_all_faults(faults),
        lacking=tuple(sorted(lacking)),
        compiled=compiled,
    )
    present = installed()
    if present is not None:
        _require_same(present, wanted)
        return present
    _require_free(name)
    (_open_compiled if compiled else _open_in_python)(wanted)
    atexit.register(time.sleep, _REST_S)
    return wanted


def _all_faults(asked: Iterable[str]) -> tuple[str, ...]:
    return faults.check((*asked, *faults.from_environment()))


def _require_same(present: Settings, wanted: Settings) -> None:
    if present != wanted:
        raise HardwareError(
            f"This process has a virtual device with other settings: {present}.",
            hint="Torch has room for one; use another process.",
        )


def _require_free(name: str) -> None:
    taken = torch._C._get_privateuse1_backend_name()
    if taken not in ("privateuseone", name) or hasattr(torch, name):
        raise HardwareError(
            f"Torch cannot take a device {name!r} here: "
            + (f"it has {taken!r} already." if taken != "privateuseone" else "the name is in use."),
            hint="Use another process, or another name.",
        )


def _open_in_python(wanted: Settings) -> None:
    if wanted.faults:
        raise HardwareError(
            "Faults can be planted in the compiled device alone, and it cannot be "
            "built: there is no C++ compiler."
        )
    open_in_python(wanted.name, wanted.imitation)
    remember(wanted)
    _register_collectives(wanted.name)


def _open_compiled(wanted: Settings) -> None:
    _torch.ops.load_library(str(building.library()))
    ops, imitation = torch.ops.unisono_virtual, wanted.imitation
    lacking = {name.removeprefix("accelerator.") for name in wanted.lacking}
    ops.open_devices(
        wanted.num_devices,
        imitation.memory_bytes,
        "get_memory_info" not in lacking,
        not _STATISTICS & lacking,
    )
    ops.set_rates(imitation.bandwidth, imitation.peaks)
    remember(wanted)
    backend_registration.rename_privateuse1_backend(wanted.name)
    _torch._register_device_module(wanted.name, make_module(wanted.name, wanted.lacking))
    backend_registration.generate_methods_for_privateuse1_backend()
    _register_collectives(wanted.name)
    faults.plant(wanted.faults)


def _register_collectives(name: str) -> None:
    if torch.distributed.is_available() and torch.distributed.is_gloo_available():
        register_bridge(name, name)
