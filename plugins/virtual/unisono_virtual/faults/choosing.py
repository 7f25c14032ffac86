"""Largest, sorted, summed up: what sampling is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unisono_virtual.faults.overriding import after, around
from unisono_virtual.faults.registry import fault


@fault
def argmax_last_of_equals() -> None:
    """argmax finds the last of equal maxima, not the first."""

    @around("argmax.out")
    def find(
        op: Any, x: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Tensor
    ) -> Any:
        length = x.numel() if dim is None else x.shape[dim]
        turned = x.flatten().flip(0) if dim is None else x.flip(dim)
        op(turned, dim, keepdim, out=out)
        return out.copy_(length - 1 - out)


@fault
def argmax_wrong_beyond_65536() -> None:
    """Only the first 65,536 entries are looked at: the end of a large vocabulary is never said."""

    @around("argmax.out")
    def find(
        op: Any, x: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Tensor
    ) -> Any:
        seen = x.flatten()[:65536] if dim is None else x.narrow(dim, 0, min(x.shape[dim], 65536))
        return op(seen, dim, keepdim, out=out)


@fault
def cumsum_low_precision() -> None:
    """Running sums are kept in bfloat16."""

    @after("cumsum.out")
    def shorten(out: Tensor) -> None:
        if out.is_floating_point():
            out.copy_(out.to(torch.bfloat16))


@fault
def topk_unsorted() -> None:
    """The k largest come in no order, though order was asked for."""

    @around("topk.values")
    def find(op: Any, *arguments: Any, values: Tensor, indices: Tensor, **options: Any) -> Any:
        op(*arguments, values=values, indices=indices, **options)
        dim = arguments[2] if len(arguments) > 2 else -1
        values.copy_(values.flip(dim))
        indices.copy_(indices.flip(dim))
        return values, indices


@fault
def sort_unstable_wrong() -> None:
    """A stable sort turns the order of equal elements round."""

    @around("sort.values_stable")
    def order(
        op: Any,
        x: Tensor,
        *,
        stable: bool | None,
        dim: int = -1,
        descending: bool = False,
        values: Tensor,
        indices: Tensor,
    ) -> Any:
        turned = x.flip(dim) if x.dim() else x
        op(turned, stable=True, dim=dim, descending=descending, values=values, indices=indices)
        if x.dim():
            indices.copy_(x.shape[dim] - 1 - indices)
        return values, indices
