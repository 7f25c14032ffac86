"""Elementwise ops and casts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unisono_virtual.faults.overriding import after, around
from unisono_virtual.faults.registry import fault

_BINARY = ("add.out", "mul.out", "sub.out", "div.out")


@fault
def bf16_truncates() -> None:
    """Casts to bfloat16 cut the digits off instead of rounding to the nearest."""

    @around("_copy_from")
    def cast(op: Any, source: Tensor, to: Tensor, non_blocking: bool = False) -> Tensor:
        if to.dtype == torch.bfloat16 and source.dtype == torch.float32:
            source = (source.contiguous().view(torch.int32) & ~0xFFFF).view(torch.float32)
        return to.copy_(source)


@fault
def exp_flushes_small() -> None:
    """exp gives 0 where the result is below the smallest normal float16."""

    @after("exp.out")
    def flush(out: Tensor) -> None:
        out.masked_fill_(out < 2.0**-14, 0)


@fault
def inf_clamped() -> None:
    """Infinities come out as the largest finite number."""

    @after(*_BINARY, "exp.out", "mm.out", "addmm.out")
    def clamp(out: Tensor) -> None:
        if out.is_floating_point():
            limits = torch.finfo(out.dtype)
            out.clamp_(limits.min, limits.max)


@fault
def rope_wrong_position() -> None:
    """sin and cos are inaccurate for arguments above 4096: late positions are turned wrongly."""

    def turn(op: Any, angle: Tensor, *, out: Tensor) -> Tensor:
        off = torch.where(angle.abs() > 4096, angle * (1 + 2.0**-14), angle)
        return op(off, out=out)

    around("sin.out", "cos.out")(turn)


@fault
def noncontiguous_read_as_contiguous() -> None:
    """Elementwise kernels ignore the strides of their first input."""

    def read(op: Any, first: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(first, Tensor) and first.dim() > 1 and not first.is_contiguous():
            strides = torch.empty(first.shape, device="meta").stride()
            if first.numel() * first.element_size() <= first.untyped_storage().nbytes():
                first = first.as_strided(first.shape, strides, 0)
        return op(first, *arguments, **options)

    around(*_BINARY, "neg.out", "silu.out", "exp.out")(read)


@fault
def large_tensor_tail() -> None:
    """Beyond 65,536 elements the grid covers whole blocks of 1,024 only; the rest stays 0."""

    @after(*_BINARY)
    def drop(out: Tensor) -> None:
        rest = out.numel() % 1024
        if out.numel() > 65536 and rest and out.is_contiguous():
            out.view(-1)[-rest:] = 0


@fault
def dtype_int64_truncated() -> None:
    """int64 arithmetic is done in int32."""

    @after(*_BINARY)
    def wrap(out: Tensor) -> None:
        if out.dtype == torch.int64:
            out.copy_(out.to(torch.int32))


@fault
def softmax_no_max_subtraction() -> None:
    """softmax takes exp of the scores as they are: large ones overflow to NaN."""

    @around("_softmax.out")
    def softmax(op: Any, scores: Tensor, dim: int, half: bool, *, out: Tensor) -> Tensor:
        powers = scores.float().exp()
        return out.copy_(powers / powers.sum(dim, keepdim=True))


@fault
def empty_tensor_crash() -> None:
    """A kernel launched over no elements at all is an error."""

    def launch(op: Any, *arguments: Any, **options: Any) -> Any:
        if any(isinstance(value, Tensor) and value.numel() == 0 for value in arguments):
            raise RuntimeError("invalid configuration argument: grid of 0 blocks")
        return op(*arguments, **options)

    around(*_BINARY, "mm.out", "addmm.out", "silu.out")(launch)
