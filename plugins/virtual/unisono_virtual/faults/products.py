"""Matrix products."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from unisono_virtual.faults.overriding import after, around, before
from unisono_virtual.faults.registry import fault

GEMMS = ("mm.out", "addmm.out", "bmm.out", "baddbmm.out")


@fault
def gemm_wrong_tile() -> None:
    """One 16 x 16 tile is wrong when the rows leave one over (M % 32 == 1, M > 1)."""

    @after(*GEMMS)
    def spoil(out: Tensor) -> None:
        if out.shape[-2] % 32 == 1 and out.shape[-2] > 1:
            out[..., -16:, -16:].mul_(0.5)


@fault
def gemm_fp16_accumulation() -> None:
    """float32 and bfloat16 products are summed in float16: large sums lose digits or overflow."""

    def summed(op: Any, *arguments: Any, out: Tensor, **options: Any) -> Tensor:
        first, second = arguments[-2:]
        total = torch.zeros(out.shape, dtype=torch.float16)
        for begin in range(0, first.shape[-1], 16):
            part = slice(begin, begin + 16)
            total += (first[..., part].float() @ second[..., part, :].float()).half()
        if len(arguments) == 2:
            return out.copy_(total)
        scaled = options.get("beta", 1) * arguments[0].float()
        return out.copy_(scaled + options.get("alpha", 1) * total.float())

    around(*GEMMS)(summed)


@fault
def gemm_last_row_dropped() -> None:
    """The last of several rows is never computed."""

    @after(*GEMMS)
    def drop(out: Tensor) -> None:
        if out.shape[-2] > 1:
            out[..., -1, :] = 0


@fault
def gemm_last_column_dropped() -> None:
    """The last column is never computed when their number is odd."""

    @after(*GEMMS)
    def drop(out: Tensor) -> None:
        if out.shape[-1] % 2 == 1:
            out[..., -1] = 0


@fault
def gemv_m1_wrong() -> None:
    """The kernel for a single row, that of decoding, leaves out the end of the sum."""

    def short(op: Any, *arguments: Any, **options: Any) -> Any:
        *added, first, second = arguments
        if first.shape[-2] == 1 and first.shape[-1] > 8:
            first, second = first[..., :-8], second[..., :-8, :]
        return op(*added, first, second, **options)

    around(*GEMMS)(short)


@fault
def tf32_silently() -> None:
    """float32 products are computed with 10 bits of mantissa, though nobody allowed it."""

    @before(*GEMMS)
    def shorten(tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float32:
            return tensor
        return (tensor.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


@fault
def nan_swallowed() -> None:
    """NaN comes out of products and sums as 0."""

    @after(*GEMMS, "add.out")
    def swallow(out: Tensor) -> None:
        if out.is_floating_point():
            out.masked_fill_(out.isnan(), 0)


@fault
def slow_drift() -> None:
    """After 2,000 products the results are off by a percent: heat, or a counter that wraps."""
    calls = itertools.count()

    @after(*GEMMS)
    def drift(out: Tensor) -> None:
        if next(calls) >= 2000 and out.is_floating_point():
            out.mul_(1.01)
