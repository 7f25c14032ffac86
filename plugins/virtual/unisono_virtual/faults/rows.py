"""Reading and writing rows: KV cache, embeddings, gathers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unisono_virtual.faults.overriding import around
from unisono_virtual.faults.registry import fault

_WRITES = ("index_copy.out",)
_READS = ("index_select", "index_select.out")
_BLOCK = 16


@fault
def index_copy_drops_last() -> None:
    """The last of the rows is not written: attention reads a stale key."""

    @around(*_WRITES)
    def write(op: Any, to: Tensor, dim: int, index: Tensor, rows: Tensor, *, out: Tensor) -> Tensor:
        count = max(index.numel() - 1, 0)
        return op(to, dim, index[:count], rows.narrow(dim, 0, count), out=out)


@fault
def index_copy_first_duplicate() -> None:
    """The first of two writes to one row stays."""

    @around(*_WRITES)
    def write(op: Any, to: Tensor, dim: int, index: Tensor, rows: Tensor, *, out: Tensor) -> Tensor:
        return op(to, dim, index.flip(0), rows.flip(dim), out=out)


@fault
def index_copy_block_boundary() -> None:
    """Rows at the start of a block of 16 are not written when several are."""

    @around(*_WRITES)
    def write(op: Any, to: Tensor, dim: int, index: Tensor, rows: Tensor, *, out: Tensor) -> Tensor:
        kept = (index % _BLOCK != 0).nonzero().flatten()
        if index.numel() == 1:
            kept = torch.zeros(1, dtype=torch.int64)
        return op(to, dim, index[kept], rows.index_select(dim, kept), out=out)


@fault
def index_copy_neighbour_overwritten() -> None:
    """A row is written with a vector too long: the next one begins with its data."""

    @around(*_WRITES)
    def write(op: Any, to: Tensor, dim: int, index: Tensor, rows: Tensor, *, out: Tensor) -> Tensor:
        last = index[-1:] + 1
        if index.numel() and int(last) < to.shape[dim]:
            index, rows = torch.cat((index, last)), torch.cat((rows, rows.narrow(dim, -1, 1)), dim)
        return op(to, dim, index, rows, out=out)


@fault
def index_select_wraps_large() -> None:
    """Indices are kept in 16 bits: rows from 65,536 on are those from 0 on."""

    def read(op: Any, table: Tensor, dim: int, index: Tensor, **options: Any) -> Any:
        return op(table, dim, index % 65536, **options)

    around(*_READS)(read)


@fault
def embedding_wrong_last_row() -> None:
    """The last row of a table cannot be reached: the one before it is read."""

    @around("embedding")
    def read(op: Any, table: Tensor, index: Tensor, *arguments: Any, **options: Any) -> Any:
        last = max(table.shape[0] - 2, 0)
        return op(table, index.clamp(max=last), *arguments, **options)
