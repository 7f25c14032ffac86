"""Collectives for any torch device: device -> host -> gloo -> device.

For devices whose maker ships no collectives, or none for this torch. Tensors of the host and
objects go through the same group. Every rank may be on another maker's device: on the wire there
are host tensors only. Knows no device by name; slow by nature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from unisono.core.errors import HardwareError

distributed: Any = torch.distributed

_COLLECTIVES: tuple[tuple[str, ...], ...] = (
    ("allreduce",),
    ("allreduce_coalesced",),
    ("allgather",),
    ("allgather_coalesced",),
    ("all_gather_single", "_allgather_base"),
    ("all_gather_single_coalesced", "allgather_into_tensor_coalesced"),
    ("reduce_scatter_single", "_reduce_scatter_base"),
    ("reduce_scatter_single_coalesced", "reduce_scatter_tensor_coalesced"),
    ("all_to_all_single", "alltoall_base"),
    ("alltoall",),
    ("broadcast",),
    ("reduce",),
    ("gather",),
    ("scatter",),
    ("send",),
    ("recv",),
    ("recv_anysource",),
)
"""Names of each collective, the newest first. The first argument of each holds the results."""


def register_bridge(backend_name: str, device_type: str) -> None:
    """Make ``init_process_group(backend_name)`` serve tensors of ``device_type`` and of the host.

    A backend that has the name already keeps it.

    Raises:
        HardwareError: this build of torch has no ``torch.distributed`` or no gloo.
    """
    if not (distributed.is_available() and distributed.is_gloo_available()):
        raise HardwareError("This build of torch has no torch.distributed with gloo.")
    if backend_name.lower() in distributed.Backend.backend_list:
        return
    group_class = _bridge_class()

    def create(store: Any, rank: int, size: int, timeout: timedelta) -> Any:
        return group_class(_host_group(store, rank, size, timeout), rank, size, backend_name)

    distributed.Backend.register_backend(backend_name, create, devices=[device_type, "cpu"])


def _host_group(store: Any, rank: int, size: int, timeout: timedelta) -> Any:
    """Gloo as a whole group: a backend alone lacks the coalesced collectives."""
    gloo = distributed.ProcessGroupGloo(store, rank, size, timeout)
    kind = distributed.ProcessGroup.BackendType.GLOO
    group = distributed.ProcessGroup(store, rank, size)
    group._set_default_backend(kind)
    group._register_backend(torch.device("cpu"), kind, gloo)
    return group


def _bridge_class() -> Any:
    """The group, made here because torch may lack its base."""

    class BridgeGroup(distributed.ProcessGroup):  # type: ignore[misc]
        """A group of torch whose work is done by gloo on host copies."""

        def __init__(self, inner: Any, rank: int, size: int, backend_name: str) -> None:
            super().__init__(rank, size)
            self._inner = inner
            self._backend_name = backend_name
            self._group_name = self._group_description = ""

        def barrier(self, *arguments: Any, **options: Any) -> Any:
            return self._inner.barrier(*arguments, **options)

        def monitored_barrier(self, *arguments: Any, **options: Any) -> Any:
            return self._inner.monitored_barrier(*arguments, **options)

        def reduce_scatter(
            self, outputs: list[Tensor], inputs: list[list[Tensor]], options: Any = None
        ) -> Any:
            """Gloo has the form with one input tensor alone."""
            given = () if options is None else (options,)
            whole = [torch.cat([part.reshape(-1) for part in parts]) for parts in inputs]
            flat = [torch.empty_like(whole[0][: output.numel()]) for output in outputs]
            work = self.reduce_scatter_single(flat[0], whole[0], *given)
            return _Work(work, list(zip(outputs, flat, strict=True)), outputs)

        def getBackendName(self) -> str:
            return self._backend_name

        def getRank(self) -> int:
            return self.rank()

        def getSize(self) -> int:
            return self.size()

        def getGroupName(self) -> str:
            return self._group_name

        def setGroupName(self, name: str) -> None:
            self._group_name = name

        def getGroupDesc(self) -> str:
            return self._group_description

        def setGroupDesc(self, description: str) -> None:
            self._group_description = description

        @property
        def group_name(self) -> str:
            return self._group_name

    class _Work(distributed.Work):  # type: ignore[misc]
        """Work of gloo, whose results reach the device when it is waited for."""

        def __init__(self, inner: Any, back: list[tuple[Tensor, Tensor]], results: Any) -> None:
            super().__init__()
            self._inner, self._back, self._results = inner, back, results

        def wait(self, timeout: timedelta | None = None) -> bool:
            if timeout is None or timeout <= timedelta(0):
                self._inner.wait()
            else:
                self._inner.wait(timeout)
            for to, host in self._back:
                to.copy_(host.view(to.shape))
            self._back = []
            return True

        def is_completed(self) -> bool:
            return bool(self._inner.is_completed())

        def is_success(self) -> bool:
            return bool(self._inner.is_success())

        def get_future(self) -> Any:
            self.wait()
            future: Any = torch.futures.Future()
            future.set_result(self._results)
            return future

    def bridged(names: Sequence[str]) -> Callable[..., Any]:
        def collective(self: Any, *arguments: Any, **options: Any) -> Any:
            function = next(getattr(self._inner, name) for name in names if _has(self, name))
            if not any(tensor.device.type != "cpu" for tensor in _tensors(arguments)):
                return function(*arguments, **options)
            host = _on_host(arguments)
            back = list(zip(_tensors(arguments[0]), _tensors(host[0]), strict=True))
            back = [] if names[0] == "send" else back
            return _Work(function(*host, **options), back, _tensors(arguments[0]))

        return collective

    for names in _COLLECTIVES:
        for name in names:
            setattr(BridgeGroup, name, bridged(names))
    return BridgeGroup


def _has(group: Any, name: str) -> bool:
    return hasattr(group._inner, name)


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested lists."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _on_host(value: Any) -> Any:
    """The same nest with host copies."""
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous()
    if isinstance(value, list | tuple):
        return [_on_host(item) for item in value]
    return value
