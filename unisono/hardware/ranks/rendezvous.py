"""Rendezvous: ranks of a model, processes of one machine, find their devices and each other.

The meeting place is a file in a folder that only this user can enter; nothing listens beyond the
machine itself. A hardware whose facts name a distributed backend uses it; the others go through
host memory.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from unisono.core.errors import ConfigError, HardwareError
from unisono.hardware.base import Hardware, HostHardware
from unisono.hardware.ranks.collectives import Group

distributed: Any = torch.distributed
_STEP_TIMEOUT = timedelta(seconds=120)
"""For the slowest rank to arrive at a collective; they all compute the same."""
_HOST_BACKEND = "gloo"
_INTERFACE_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_LOOPBACK = "127.0.0.1"


def name_of_rank(hardware: Hardware, rank: int, size: int) -> str:
    """The device of rank ``rank``, where ``hardware`` is rank 0's: the next ones of its kind, or
    the same one where the host itself computes.

    Raises:
        ConfigError: there are fewer devices than ranks.
    """
    if isinstance(hardware, HostHardware):
        return hardware.name
    there = type(hardware).count() - hardware.index
    if size > there:
        raise ConfigError(
            f"{size} ranks need {size} devices; from {hardware.name} on there are {there}.",
            hint=f"Use --tp {there}." if there > 1 else "Leave out --tp.",
        )
    kind, _, index = hardware.name.rpartition(":")
    return f"{kind}:{int(index) + rank}"


def join_group(hardware: Hardware, folder: Path, *, rank: int, size: int) -> Group:
    """Meet the other ranks in ``folder`` and make sure that all are heard.

    Raises:
        HardwareError: they did not come, or this torch or this process cannot do it.
    """
    if not distributed.is_available():
        raise HardwareError("This build of torch has no torch.distributed.", hint="Leave out --tp.")
    try:
        group = _open_group(hardware, folder, rank, size)
        _check_heard(hardware, group)
    except (RuntimeError, ValueError) as error:
        raise HardwareError(
            f"Rank {rank} on {hardware.name} did not meet the {size - 1} others ({error})."
        ) from error
    return group


def _open_group(hardware: Hardware, folder: Path, rank: int, size: int) -> Group:
    backend = hardware.facts.distributed_backend
    store = distributed.FileStore(str(folder / "ranks"), size)
    if backend in (None, _HOST_BACKEND):
        return Group(rank, size, _host_group(store, rank, size), backend is None, False)
    with _loopback_only(), hardware.activate():
        _open_default(backend, store, rank, size)
    return Group(rank, size, distributed.group.WORLD, False, True)


def _check_heard(hardware: Hardware, group: Group) -> None:
    """One sum over the ranks, which also makes backends connect that do it late."""
    try:
        with hardware.activate():
            heard = int(hardware.ops.all_reduce(torch.ones(1, device=hardware.device), group))
    except BaseException:
        group.leave()
        raise
    if heard != group.size:
        group.leave()
        raise HardwareError(
            f"The ranks on {hardware.name} sum wrongly: {group.size} ones make {heard}."
        )


def _host_group(store: Any, rank: int, size: int) -> Any:
    """A group of its own, not the process's default, so that several engines fit in a process."""
    gloo = distributed.ProcessGroupGloo
    options = gloo._Options()
    options._devices = [gloo.create_device(hostname=_LOOPBACK)]
    options._timeout = _STEP_TIMEOUT
    return gloo(store, rank, size, options)


def _open_default(backend: str, store: Any, rank: int, size: int) -> None:
    if not distributed.is_backend_available(backend):
        raise HardwareError(
            f"Neither torch nor the device's package has the distributed backend {backend}.",
            hint="Install a build that has it, or leave out --tp.",
        )
    if distributed.is_initialized():
        raise HardwareError(
            f"{backend} can serve one group of ranks in a process, and has one.",
            hint="Close the other engine first, or use another process.",
        )
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=_STEP_TIMEOUT
    )


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Backends that listen do it on the loopback interface, unless the user chose another."""
    names = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    ours = [variable for variable in _INTERFACE_VARIABLES if names and variable not in os.environ]
    os.environ.update(dict.fromkeys(ours, "".join(names[:1])))
    try:
        yield
    finally:
        for variable in ours:
            del os.environ[variable]
