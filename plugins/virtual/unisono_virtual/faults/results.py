"""Results of the wrong kind: dtype, shape, device, gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unisono_virtual.faults.overriding import after, around
from unisono_virtual.faults.registry import fault

_library: Any = torch.library
_kept: list[Any] = []


@fault
def wrong_dtype_result() -> None:
    """The sum of two bfloat16 tensors is float32."""

    @around("add.Tensor")
    def add(op: Any, first: Tensor, second: Any, **options: Any) -> Tensor:
        result: Tensor = op(first, second, **options)
        return result.float() if result.dtype == torch.bfloat16 else result


@fault
def wrong_shape_result() -> None:
    """Reductions forget keepdim."""

    def reduce(op: Any, x: Tensor, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
        return op(x, dim, False, **options)

    around("sum.dim_IntList", "mean.dim", "amax")(reduce)


@fault
def host_fallback_silent() -> None:
    """An op that the chip lacks runs on the host without a word, and its result stays there."""
    library = _library.Library("aten", "IMPL")
    _kept.append(library)
    for name in ("silu", "cumsum"):
        op = getattr(torch.ops.aten, name).default
        library.impl(name, _on_host(op), "PrivateUse1")


def _on_host(op: Any) -> Any:
    def run(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return op(torch.ops.unisono_virtual.host_alias(x), *arguments, **options)

    return run


@fault
def grad_wrong() -> None:
    """The backward of silu is scaled wrongly: models answer well and do not learn."""

    @after("silu_backward")
    def scale(out: Tensor) -> None:
        out.mul_(1.1)
