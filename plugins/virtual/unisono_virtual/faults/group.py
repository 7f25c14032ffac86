"""Collectives of the plugin's own backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from unisono_virtual.faults.registry import fault
from unisono_virtual.settings import settings

distributed: Any = torch.distributed


@fault
def all_reduce_misses_rank() -> None:
    """The last rank's part is missing from sums."""

    def reduce(original: Callable[..., Any], group: Any, tensors: Any, *options: Any) -> Any:
        if group.rank() == group.size() - 1:
            for tensor in tensors:
                tensor.zero_()
        return original(group, tensors, *options)

    _wrap("allreduce", reduce)
    _wrap("allreduce_coalesced", reduce)


@fault
def all_gather_order_swapped() -> None:
    """The parts of the first two ranks change places."""

    def gather(original: Callable[..., Any], group: Any, out: Any, *given: Any) -> Any:
        original(group, out, *given).wait()
        for parts in _parts(out, group.size()):
            first = parts[0].clone()
            parts[0].copy_(parts[1])
            parts[1].copy_(first)
        return group.barrier()

    for name in ("allgather", "all_gather_single", "_allgather_base"):
        _wrap(name, gather)


def _parts(out: Any, size: int) -> list[Any]:
    if isinstance(out, torch.Tensor):
        return [out.view(-1).chunk(size)] if size > 1 else []
    return [parts for parts in out if len(parts) > 1]


def _wrap(name: str, function: Callable[..., Any]) -> None:
    """Let groups of the backend that are made from now on do this."""
    plugins, backend = distributed.Backend._plugins, settings().name.upper()
    create = plugins[backend].creator_fn
    wrapped: set[type] = set()

    def create_faulty(*arguments: Any) -> Any:
        group = create(*arguments)
        if type(group) not in wrapped:
            wrapped.add(type(group))
            original = getattr(type(group), name)
            setattr(type(group), name, lambda *given: function(original, *given))
        return group

    plugins[backend] = plugins[backend]._replace(creator_fn=create_faulty)
