"""A group of ranks, and the reference of the ops that go between them, over torch.distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(slots=True)
class Group:
    """Ranks that compute together, seen from one of them.

    ``handle`` is what ``torch.distributed`` calls a group; ``through_host``: it takes tensors of
    the host alone.
    """

    rank: int
    size: int
    handle: Any
    through_host: bool
    owns_default: bool
    """True where it is the process's default group, of which there can be one."""

    def leave(self) -> None:
        """Nothing is to be sent through the group any more. The handle is dropped before the
        interpreter ends: its threads would abort the process then."""
        self.handle = None
        if self.owns_default and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def all_reduce(x: Tensor, group: Group) -> Tensor:
    """The reference of the op of that name."""
    wire = x.cpu() if group.through_host else x.contiguous()
    torch.distributed.all_reduce(wire, group=group.handle)
    return wire.to(x.device)


def all_gather(x: Tensor, group: Group, dim: int) -> Tensor:
    """The reference of the op of that name."""
    wire = x.cpu() if group.through_host else x.contiguous()
    parts = [torch.empty_like(wire) for _ in range(group.size)]
    torch.distributed.all_gather(parts, wire, group=group.handle)
    return torch.cat(parts, dim).to(x.device)
