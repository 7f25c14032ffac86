"""Functions, softmax and reductions of torch, which engine, models and training use."""

from __future__ import annotations

from collections.abc import Callable

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
from unisono.conformance.expected.comparing import Expected, exactly
from unisono.conformance.expected.math_apis import absolute_error, function_error
from unisono.conformance.registry import check

_DECADES = torch.logspace(-30, 30, 601)
_FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "exp": (torch.exp, torch.linspace(-100, 88, 1881)),
    "log": (torch.log, torch.cat((_DECADES, 1 + torch.logspace(-6, -1, 99)))),
    "tanh": (torch.tanh, torch.cat((torch.linspace(-20, 20, 401), _DECADES[200:320]))),
    "sqrt": (torch.sqrt, _DECADES),
    "rsqrt": (torch.rsqrt, _DECADES),
    "reciprocal": (torch.reciprocal, _DECADES),
    "sigmoid": (torch.sigmoid, torch.linspace(-80, 80, 1601)),
    "silu": (F.silu, torch.linspace(-80, 80, 1601)),
}
"""Name -> function, arguments."""
_COMPOSITIONS = {
    "reciprocal": ("divide", 0.0),
    "sigmoid": ("exp", 8 * U32),
    "silu": ("exp", 8 * U32),
}
"""Name -> the function whose error it has, and the relative error that comes to it."""
_COMPOSED = ("rsqrt",)
"""1 / sqrt(x) rounds twice, also to 16 bits."""


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@check("ops.functions", "exp, log, sin, cos, ... over their whole range, in ulps")
def functions(context: Context) -> None:
    for dtype in context.dtypes:
        for name, (function, where) in _FUNCTIONS.items():
            limit = torch.finfo(dtype).max / 4
            x = where[(where.abs() < limit) & (where.abs() > 1 / limit)].to(dtype)
            with context.case(f"{_name(dtype)} {name}"):
                values = function(x.double())
                roundings = 2 if name in _COMPOSED else 1
                inner, more = _COMPOSITIONS.get(name, (name, 0.0))
                relative = function_error(inner, x) + more + gamma(roundings, unit_roundoff(dtype))
                bound = (relative * values.abs()).clamp(min=absolute_error(inner))
                bound = bound + underflow(dtype) + 90 * underflow(torch.float32)
                on_device = context.put(x)
                want = Expected(values, bound)
                context.verify(
                    lambda f, x: f(x),
                    want,
                    dtype=dtype,
                    given=(
                        function,
                        on_device,
                    ),
                )
    angles = torch.cat((torch.linspace(-20, 20, 801), torch.linspace(1e3, 1e6, 997)))
    for function in (torch.sin, torch.cos):
        with context.case(f"float32 {function.__name__} to a million"):
            values = function(angles.double())
            want = Expected(values, torch.full_like(values, absolute_error(function.__name__)))
            on_device = context.put(angles)
            context.verify(
                lambda f, x: f(x),
                want,
                dtype=torch.float32,
                given=(
                    function,
                    on_device,
                ),
            )


@check("ops.softmax", "softmax, log-softmax, logsumexp: wide rows, large and tiny terms")
def softmax(context: Context) -> None:
    rows = {
        "[5, 7]": inputs.normal(5, 7),
        "[3, 1000]": inputs.normal(3, 1000) * 5,
        "[2, 151_936]": inputs.normal(2, 151_936) * 3,
        "a ramp from 0 to -80": torch.linspace(0, -80, 321).unsqueeze(0),
        "around 1000": inputs.normal(3, 64) + 1000,
        "around -1000": inputs.normal(3, 64) - 1000,
        "equal": torch.zeros(2, 65_537),
    }
    masked = inputs.normal(3, 130)
    masked[:, ::2] = -torch.inf
    rows["half at minus infinity"] = masked
    spoiled = inputs.normal(4, 64)
    spoiled[1, 3] = torch.nan
    rows["NaN in one row"] = spoiled
    for words, x in rows.items():
        on_device = context.put(x)
        with context.case(f"softmax {words}"):
            want = expected.softmax(x)
            context.verify(
                lambda x: torch.softmax(x, -1), want, dtype=torch.float32, given=(on_device,)
            )
        with context.case(f"log_softmax {words}"):
            want = expected.softmax(x, log=True)
            context.verify(
                lambda x: torch.log_softmax(x, -1), want, dtype=torch.float32, given=(on_device,)
            )
        with context.case(f"logsumexp {words}"):
            values = x.double().logsumexp(-1)
            slack = sum_error(x.shape[-1]) + 2 * expected.error_of_exponentials(x).squeeze(-1)
            slack = slack + 3 * U32 * values.abs() + absolute_error("log")
            slack = slack + U32 * (x.double().amax(-1).nan_to_num().abs() + 12 * 4)
            want = Expected(values, slack)
            context.verify(lambda x: x.logsumexp(-1), want, dtype=torch.float32, given=(on_device,))


@check("ops.reductions", "sums, cumulative sums, means and extremes, over each dimension")
def reductions(context: Context) -> None:
    for shape in ((7, 5), (3, 1025), (129, 64), (2, 70_001), (1, 1)):
        x = inputs.normal(*shape, seed=1)
        on_device = context.put(x)
        for dim in (0, 1):
            _sums(context, x, on_device, dim)
            for name in ("amax", "amin"):
                with context.case(f"{name} of {list(shape)} over {dim}"):
                    want = exactly(getattr(x, name)(dim))
                    context.verify(
                        lambda n, d, x: getattr(x, n)(d),
                        want,
                        dtype=x.dtype,
                        given=(
                            name,
                            dim,
                            on_device,
                        ),
                    )
    with context.case("cumsum of 248,320 probabilities"):
        x = torch.softmax(inputs.normal(1, 248_320, seed=2), -1)
        _cumulative(context, x, context.put(x), 1)
    with context.case("cumsum of 1000 ones and a large number"):
        x = torch.ones(1, 1001)
        x[0, 0] = 4096.0
        on_device = context.put(x)
        want = exactly(x.double().cumsum(1))
        context.verify(lambda: on_device.cumsum(1), want, dtype=torch.float32)
    for dtype in context.dtypes:
        with context.case(f"{_name(dtype)} sum is kept in float32"):
            x = torch.ones(3, 1025).to(dtype)
            x[:, 0] = 4096
            on_device = context.put(x)
            total = x.double().sum(1)
            want = Expected(total, unit_roundoff(dtype) * total)
            context.verify(lambda x: x.sum(1), want, dtype=dtype, given=(on_device,))
    with context.case("NaN reaches the maximum"):
        x = inputs.normal(4, 300, seed=3)
        x[2, 299] = torch.nan
        on_device = context.put(x)
        context.verify(lambda: on_device.amax(-1), exactly(x.amax(-1)), dtype=torch.float32)
    for dtype in (torch.int64, torch.bool):
        with context.case(f"sum of {_name(dtype)}"):
            x = (inputs.normal(3, 700, seed=4) > 0).to(dtype)
            on_device = context.put(x)
            context.verify(
                lambda x: x.sum(-1), exactly(x.sum(-1)), dtype=torch.int64, given=(on_device,)
            )


def _sums(context: Context, x: Tensor, on_device: Tensor, dim: int) -> None:
    words, terms = f"of {list(x.shape)} over {dim}", x.shape[dim]
    sizes = x.double().abs().sum(dim)
    with context.case(f"sum {words}"):
        want = Expected(x.double().sum(dim), sum_error(terms) * sizes)
        context.verify(lambda: on_device.sum(dim), want, dtype=x.dtype)
    with context.case(f"mean {words}"):
        bound = (sum_error(terms) + gamma(3, U32)) * sizes / terms
        want = Expected(x.double().mean(dim), bound)
        context.verify(lambda: on_device.mean(dim), want, dtype=x.dtype)
    with context.case(f"cumsum {words}"):
        _cumulative(context, x, on_device, dim)


def _cumulative(context: Context, x: Tensor, on_device: Tensor, dim: int) -> None:
    sizes = x.double().abs().cumsum(dim)
    want = Expected(x.double().cumsum(dim), sum_error(x.shape[dim]) * sizes)
    context.verify(lambda: on_device.cumsum(dim), want, dtype=x.dtype)
