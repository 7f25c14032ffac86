"""Gradients of each op that training calls, against float64 on the host.

The bounds follow from the backward formulas: each term's size times the roundings on its way, in
float32 and to the dtype (see ``bounds``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected import plain as expected
from unisono.conformance.expected.bounds import (
    U32,
    gamma,
    sum_error,
    underflow,
    unit_roundoff,
)
from unisono.conformance.expected.comparing import Expected, Mismatch, exactly
from unisono.conformance.expected.math_apis import function_error
from unisono.conformance.registry import check

_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Case:
    """A call on the host: leaves by name, how the op is called with them, gradients that come
    back to its results, and the leaves' gradients as they should be."""

    label: str
    op: str
    leaves: dict[str, Tensor]
    call: Callable[..., Any]
    coming: tuple[Tensor, ...]
    want: tuple[Expected, ...]


@check("training.ops", "gradients of each op that training calls")
def ops(context: Context) -> None:
    for dtype in context.dtypes:
        name = str(dtype).removeprefix("torch.")
        for make in (_linear, _embedding, _norms, _silu_mul, _ropes, _heads):
            for case in make(context, dtype):
                with context.case(f"{case.op}, {name} {case.label}"):
                    _verify(context, case, dtype)


def _verify(context: Context, case: Case, dtype: torch.dtype) -> None:
    leaves = {name: context.put(leaf) for name, leaf in case.leaves.items()}
    coming = tuple(context.put(grad) for grad in case.coming)

    def run() -> tuple[Tensor, ...]:
        return _gradients(case.call, leaves, coming)

    context.verify(run, case.want, dtype=(dtype,) * len(leaves))


def _gradients(
    call: Callable[..., Any], leaves: dict[str, Tensor], coming: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        given = [leaf.detach().clone().requires_grad_() for leaf in leaves.values()]
        results = call(*given)
        results = results if isinstance(results, tuple) else (results,)
        for result in results:
            if not isinstance(result, Tensor) or not result.requires_grad:
                raise Mismatch("is not differentiable: its result does not require a gradient")
        found = torch.autograd.grad(results, given, coming, allow_unused=True)
    for name, grad in zip(leaves, found, strict=True):
        if grad is None:
            raise Mismatch(f"gives no gradient of {name}")
    return found


# -- products and rows ------------------------------------------------------------------------


def _linear(context: Context, dtype: torch.dtype) -> list[Case]:
    """Each gradient is a product again."""
    x, weight = (
        inputs.normal(7, 33, dtype=dtype, seed=1),
        inputs.normal(19, 33, dtype=dtype, seed=2),
    )
    bias, grad = inputs.normal(19, dtype=dtype, seed=3), inputs.normal(7, 19, dtype=dtype, seed=4)
    of_x, of_weight = expected.linear(grad, weight.T), expected.linear(grad.T, x.T)
    sums = expected.linear(torch.ones(1, 7, dtype=dtype), grad.T)
    of_bias = Expected(sums.values[0], sums.bound[0])
    leaves = {"x": x, "weight": weight}
    op = context.ops.linear
    return [
        Case("[7, 33]", "linear", leaves, op, (grad,), (of_x, of_weight)),
        Case(
            "with bias", "linear", {**leaves, "bias": bias}, op, (grad,), (of_x, of_weight, of_bias)
        ),
    ]


def _embedding(context: Context, dtype: torch.dtype) -> list[Case]:
    """Sums of small whole numbers, exact in every dtype."""
    table = inputs.normal(31, 9, dtype=dtype, seed=1)
    ids = torch.tensor([0, 30, 7, 30, 30, 0, 11])
    grad = inputs.integers(7, 9, low=-9, high=9, dtype=dtype, seed=2)
    want = torch.zeros(31, 9, dtype=torch.float64).index_add(0, ids, grad.double())
    on_device = context.put(ids)

    def call(table: Tensor) -> Any:
        return context.ops.embedding(on_device, table)

    return [Case("repeated rows", "embedding", {"table": table}, call, (grad,), (exactly(want),))]


# -- norms ------------------------------------------------------------------------------------


def _norm(
    x: Tensor, weight: Tensor, grad: Expected, dtype: torch.dtype
) -> tuple[Expected, Expected]:
    """Gradients of x and of the weight. With n = x s and h = g w, the gradient of x is
    s (h - n mean(h n)): sums of D terms, s three times, four roundings to the dtype; that of the
    weight sums g n over all rows. What ``grad`` is off goes through the same formulas."""
    x, weight = x.double(), weight.double()
    scale = (x.square().mean(-1, keepdim=True) + _EPS).rsqrt()
    normed, h, carried = x * scale, grad.values * weight, grad.bound * weight.abs()
    values = scale * (h - normed * (h * normed).mean(-1, keepdim=True))

    def size(of: Tensor) -> Tensor:
        inner = (of.abs() * normed.abs()).mean(-1, keepdim=True)
        return scale * (of.abs() + normed.abs() * inner)

    u, count = unit_roundoff(dtype), normed.numel() // x.shape[-1]
    root = sum_error(x.shape[-1] + 3) / 2 + function_error("rsqrt")
    relative = sum_error(x.shape[-1] + 12) + 3 * root + gamma(4, u)
    of_x = Expected(values, relative * size(h) + (1 + relative) * size(carried))
    products = (grad.values * normed).flatten(0, -2)
    relative = sum_error(count + 4) + root + gamma(3, u)
    slack = (grad.bound * normed.abs()).flatten(0, -2).sum(0)
    bound = relative * products.abs().sum(0) + (1 + relative) * slack
    of_weight = Expected(products.sum(0), bound + underflow(dtype))
    return Expected(of_x.values, of_x.bound + underflow(dtype)), of_weight


def _norms(context: Context, dtype: torch.dtype) -> list[Case]:
    # Whole numbers: their sums are exact in every dtype, and the norm is of the very same values.
    x, residual = (inputs.integers(5, 65, low=-9, high=9, dtype=dtype, seed=s) for s in (1, 2))
    weight = inputs.positive(65, dtype=dtype, seed=3)
    grad, passing = (inputs.normal(5, 65, dtype=dtype, seed=s) for s in (4, 5))
    of_x, of_weight = _norm(x, weight, exactly(grad), dtype)
    total, of_weight_2 = _norm(x + residual, weight, exactly(grad), dtype)
    both = _added(total, passing)

    def norm(x: Tensor, weight: Tensor) -> Any:
        return context.ops.rms_norm(x, weight, _EPS)

    def add_norm(x: Tensor, residual: Tensor, weight: Tensor) -> Any:
        return context.ops.add_rms_norm(x, residual, weight, _EPS)

    def first_norm(x: Tensor, weight: Tensor) -> Any:
        return context.ops.add_rms_norm(x, None, weight, _EPS)

    alone = {"x": x, "weight": weight}
    streams = {"x": x, "residual": residual, "weight": weight}
    name = "add_rms_norm"
    return [
        Case("[5, 65]", "rms_norm", alone, norm, (grad,), (of_x, of_weight)),
        Case("a stream", name, streams, add_norm, (grad, passing), (both, both, of_weight_2)),
        Case("none", name, alone, first_norm, (grad, passing), (_added(of_x, passing), of_weight)),
    ]


def _added(grad: Expected, passing: Tensor) -> Expected:
    """A rounding more."""
    u, values = unit_roundoff(passing.dtype), grad.values + passing.double()
    return Expected(values, (1 + u) * grad.bound + u * values.abs())


# -- the gated activation ---------------------------------------------------------------------


def _silu_mul(context: Context, dtype: torch.dtype) -> list[Case]:
    """g u sigma(a) (1 + a (1 - sigma(a))) and g a sigma(a)."""
    cases = []
    for label, spread in (("[5, 2 x 33]", 1.0), ("large gates", 12.0)):
        gate_up = (inputs.normal(5, 66, seed=1) * spread).to(dtype)
        grad = inputs.normal(5, 33, dtype=dtype, seed=2)
        leaf = gate_up.double().requires_grad_()
        gate, up = leaf.chunk(2, -1)
        (values,) = torch.autograd.grad(F.silu(gate) * up, leaf, grad.double())
        gate, up = leaf.detach().chunk(2, -1)
        sigma, g = gate.sigmoid(), grad.double().abs()
        sizes = torch.cat((g * up.abs() * sigma * (1 + gate.abs()), g * gate.abs() * sigma), -1)
        of_exp = torch.cat((function_error("exp", gate),) * 2, -1)
        relative = 2 * (of_exp + function_error("divide")) + gamma(8, U32)
        relative += gamma(4, unit_roundoff(dtype))
        small = underflow(dtype) * (1 + g * (1 + up.abs() + gate.abs())).repeat(1, 2)
        want = Expected(values, relative * sizes + 4 * small)
        call = context.ops.silu_mul
        cases.append(Case(label, "silu_mul", {"gate_up": gate_up}, call, (grad,), (want,)))
    return cases


# -- rotations --------------------------------------------------------------------------------


def _turned_back(grad: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> Expected:
    """The rotation by the opposite angle; each of the two terms may be rounded to the dtype."""
    values = expected.rope(grad, cos, -sin).values
    sides = [expected.rope(grad.abs(), cos.abs(), s).values for s in (sin.abs(), -sin.abs())]
    sizes = torch.maximum(*sides)
    sizes[..., 2 * cos.shape[-1] :] = 0.0  # passes untouched
    relative = gamma(2, U32) + gamma(3, unit_roundoff(dtype))
    return Expected(values, relative * sizes + (sizes > 0) * 2 * underflow(dtype))


def _angles(count: int, pairs: int) -> tuple[Tensor, Tensor]:
    angles = torch.rand(count, pairs, generator=torch.Generator().manual_seed(2)) * 6
    return angles.cos(), angles.sin()


def _ropes(context: Context, dtype: torch.dtype) -> list[Case]:
    cases = []
    for size, rotary in ((64, 64), (80, 32)):
        x, grad = (inputs.normal(5, 3, size, dtype=dtype, seed=s) for s in (1, 3))
        cos, sin = _angles(5, rotary // 2)
        want = _turned_back(grad, cos, sin, dtype)
        turn = context.put(cos), context.put(sin)

        def call(x: Tensor, turn: tuple[Tensor, Tensor] = turn) -> Any:
            return context.ops.rope(x, *turn)

        cases.append(Case(f"{rotary} of {size}", "rope", {"x": x}, call, (grad,), (want,)))
    return cases


def _heads(context: Context, dtype: torch.dtype) -> list[Case]:
    heads, kv_heads, size, count = 3, 1, 64, 5
    cos, sin = _angles(count, size // 2)
    qkv = inputs.normal(count, (heads + 2 * kv_heads) * size, dtype=dtype, seed=1)
    query_weight, key_weight = (inputs.positive(size, dtype=dtype, seed=s) for s in (3, 4))
    shapes = (heads, kv_heads, kv_heads)
    coming = tuple(
        inputs.normal(count, n, size, dtype=dtype, seed=5 + i) for i, n in enumerate(shapes)
    )
    back = [_turned_back(grad, cos, sin, dtype) for grad in coming[:2]]
    query, key, _ = torch.split(qkv.view(count, -1, size), list(shapes), 1)
    turn = context.put(cos), context.put(sin)

    def plain(qkv: Tensor) -> Any:
        return context.ops.rotary_heads(qkv, heads, kv_heads, turn)

    def normed(qkv: Tensor, query_weight: Tensor, key_weight: Tensor) -> Any:
        norms = query_weight, key_weight, _EPS
        return context.ops.rotary_heads(qkv, heads, kv_heads, turn, norms)

    of_query, of_query_weight = _norm(query, query_weight, back[0], dtype)
    of_key, of_key_weight = _norm(key, key_weight, back[1], dtype)
    leaves = {"qkv": qkv, "query weight": query_weight, "key weight": key_weight}
    whole = _joined(of_query, of_key, exactly(coming[2]))
    want = whole, of_query_weight, of_key_weight
    simple = _joined(*back, exactly(coming[2]))
    return [
        Case("3+1 heads", "rotary_heads", {"qkv": qkv}, plain, coming, (simple,)),
        Case("3+1 heads, normed", "rotary_heads", leaves, normed, coming, want),
    ]


def _joined(*parts: Expected) -> Expected:
    """Heads side by side, as qkv has them."""
    values = torch.cat([part.values for part in parts], 1).flatten(1)
    return Expected(values, torch.cat([part.bound for part in parts], 1).flatten(1))
