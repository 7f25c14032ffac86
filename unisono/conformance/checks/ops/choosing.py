"""Choosing tokens: ``argmax``, ``filter_logits``, ``sample``, ``draw``."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected.bounds import U32, sum_error
from unisono.conformance.expected.comparing import Mismatch, exactly
from unisono.conformance.expected.math_apis import function_error
from unisono.conformance.registry import check
from unisono.core.random import uniform

_FILTERS = (
    *((0, 1.0, 0.0), (1, 1.0, 0.0), (7, 1.0, 0.0), (127, 1.0, 0.0), (500, 1.0, 0.0)),
    *((10**6, 1.0, 0.0), (0, 0.3, 0.0), (0, 0.9, 0.0), (0, 0.9999, 0.0), (0, 1e-6, 0.0)),
    *((0, 1.0, 0.1), (20, 0.8, 0.05), (400, 0.99, 1.0)),
)


@check("ops.argmax", "the first of equals, and maxima anywhere in 248,320", covers=("argmax",))
def argmax(context: Context) -> None:
    for size in (1, 2, 63, 64, 65, 1000, 32_000, 248_320):
        with context.case(f"{size} tokens"):
            logits = inputs.normal(9, size, seed=1)
            _best(context, logits)
        with context.case(f"{size} tokens, equal ones"):
            logits = (inputs.normal(9, size, seed=2) * 2).round()
            _best(context, logits)
        with context.case(f"{size} tokens, one maximum"):
            places = [
                p for p in (0, 1, 511, 65_535, 65_536, 70_000, size - 2, size - 1) if p < size
            ]
            places = [max(p, 0) for p in places]
            logits = inputs.normal(len(places), size, seed=3).clamp(max=3.0)
            for row, place in enumerate(places):
                logits[row, place] = 9.0
            _best(context, logits)
    with context.case("all equal"):
        _best(context, torch.zeros(3, 70_000))
    with context.case("all but one at minus infinity"):
        logits = torch.full((2, 70_000), -torch.inf)
        logits[0, 69_999], logits[1, 3] = -5.0, -1e30
        _best(context, logits)


def _best(context: Context, logits: Tensor) -> None:
    order = torch.arange(logits.shape[1])
    is_best = logits == logits.amax(-1, keepdim=True)
    first = torch.where(is_best, order, logits.shape[1]).amin(-1)
    on_device = context.put(logits)
    context.verify(lambda: context.ops.argmax(on_device), exactly(first), dtype=torch.int64)


def _columns() -> dict[str, Any]:
    names = ("top_k", "top_p", "min_p")
    return {
        name: list(column) for name, column in zip(names, zip(*_FILTERS, strict=True), strict=True)
    }


def _logits(size: int, spread: float) -> Tensor:
    logits = inputs.normal(len(_FILTERS), size, seed=4) * spread
    logits[:, 5:9] = logits.amax()
    return logits


def _slack(size: int) -> float:
    """Share of the probability that float32 sums of ``size`` terms may miss."""
    return sum_error(size) + function_error("exp") + function_error("divide") + 16 * U32


def _sizes(context: Context) -> tuple[int, ...]:
    return (11, 600, 40_000, 248_320) if not context.quick else (11, 600, 40_000)


@check("ops.filter_logits", "top-k, top-p and min-p keep what they say", covers=("filter_logits",))
def filter_logits(context: Context) -> None:
    for size in _sizes(context):
        for spread in (0.1, 3.0):
            with context.case(f"{size} tokens, spread {spread}"):
                logits = _logits(size, spread)
                context.examine(
                    lambda x: context.ops.filter_logits(x, **_columns()),
                    partial(_check_filtered, logits),
                    given=(context.put(logits),),
                )


def _check_filtered(logits: Tensor, filtered: Tensor) -> None:
    if filtered.shape != logits.shape or filtered.dtype != logits.dtype:
        raise Mismatch(f"returns {filtered.dtype} {list(filtered.shape)}")
    for setting, before, after in zip(_FILTERS, logits, filtered.cpu(), strict=True):
        _check_kept(setting, before, after)


def _check_kept(setting: tuple[int, float, float], before: Tensor, after: Tensor) -> None:
    top_k, top_p, min_p = setting
    words = f"top_k {top_k}, top_p {top_p}, min_p {min_p}"
    kept = ~after.isinf()
    if not kept.any() or bool((after[kept] != before[kept]).any()):
        raise Mismatch(f"{words}: what is kept is changed, or nothing is kept")
    least = before[kept].amin()
    if bool((before[~kept] >= least).any()):
        raise Mismatch(f"{words}: drops a token that is as likely as one it keeps")
    allowed = before >= before.amax() + math.log(min_p) - 1e-5 if min_p else before == before
    if 0 < top_k < before.numel():
        allowed &= before >= before.topk(top_k).values[-1]
    if bool((kept & ~allowed).any()):
        raise Mismatch(f"{words}: keeps {int((kept & ~allowed).sum())} tokens too many")
    if top_p < 1.0:
        _check_nucleus(words, before, kept, allowed, top_p, min_p)
    elif bool((allowed & ~kept & (before > _floor(before, min_p))).any()):
        raise Mismatch(f"{words}: drops {int((allowed & ~kept).sum())} tokens too many")


def _floor(before: Tensor, min_p: float) -> float:
    """Logits above this are kept by min_p beyond doubt."""
    return float(before.amax()) + math.log(min_p) + 1e-5 if min_p else -math.inf


def _check_nucleus(
    words: str, before: Tensor, kept: Tensor, allowed: Tensor, top_p: float, min_p: float
) -> None:
    slack = _slack(before.numel())
    inside = before.double().masked_fill(~allowed, -torch.inf) if not min_p else before.double()
    probabilities = inside.softmax(0)
    if not min_p and float(probabilities[kept].sum()) < top_p - slack:
        raise Mismatch(f"{words}: keeps {float(probabilities[kept].sum()):.6f} of the probability")
    smallest = probabilities[kept].amin()
    if not min_p and float(probabilities[probabilities > smallest].sum()) >= top_p + slack:
        raise Mismatch(f"{words}: keeps more than it needs")


@check("ops.sample", "the inverse of the cumulative distribution", covers=("sample",))
def sample(context: Context) -> None:
    for size in (3, 512, 1000, 248_320):
        with context.case(f"{size} tokens"):
            logits = inputs.normal(40, size, seed=5) * 2
            logits[:, ::3] = -torch.inf
            logits[:, 1] = 1.0
            uniforms = torch.tensor([uniform(11, i) for i in range(40)])
            uniforms[0], uniforms[1] = 0.0, 1.0 - 2.0**-24
            _sample(context, logits, uniforms)
    with context.case("shares of 4000 draws"):
        logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(4000, 4).contiguous()
        uniforms = torch.tensor([uniform(3, i) for i in range(4000)])
        _sample(context, logits, uniforms)


def _sample(context: Context, logits: Tensor, uniforms: Tensor) -> None:
    context.examine(
        context.ops.sample,
        partial(_check_drawn, context.device, logits, uniforms),
        given=(context.put(logits), context.put(uniforms)),
    )


@check("ops.draw", "a draw is a sample of what the filters leave", covers=("draw",))
def draw(context: Context) -> None:
    for size in _sizes(context):
        for spread in (0.0, 0.1, 3.0):
            with context.case(f"{size} tokens, spread {spread}"):
                logits = _logits(size, spread)
                on_device = context.put(logits)
                filtered = context.ops.filter_logits(on_device, **_columns()).cpu()
                for seed in range(2 if context.quick else 8):
                    uniforms = torch.tensor([uniform(seed, i) for i in range(len(_FILTERS))])
                    context.examine(
                        lambda x, u: context.ops.draw(x, u, **_columns()),
                        partial(_check_drawn, context.device, filtered, uniforms),
                        given=(on_device, context.put(uniforms)),
                    )


def _check_drawn(device: torch.device, logits: Tensor, uniforms: Tensor, chosen: Tensor) -> None:
    """Each number lies within its token's share of the cumulative probability."""
    if not isinstance(chosen, Tensor) or chosen.shape != uniforms.shape:
        raise Mismatch(f"does not return {len(uniforms)} token ids")
    if chosen.dtype != torch.int64 or chosen.device.type != device.type:
        raise Mismatch(f"returns {chosen.dtype} on {chosen.device}")
    chosen = chosen.cpu()
    if bool(((chosen < 0) | (chosen >= logits.shape[1])).any()):
        raise Mismatch("draws a token that does not exist")
    cumulative = logits.double().softmax(-1).cumsum(-1)
    rows = torch.arange(len(chosen))
    if bool(logits[rows, chosen].isinf().any()):
        raise Mismatch("draws a token of probability 0")
    slack = _slack(logits.shape[1])
    above = cumulative[rows, chosen]
    below = torch.where(chosen > 0, cumulative[rows, (chosen - 1).clamp(min=0)], 0.0)
    wrong = (uniforms > above + slack) | (uniforms < below - slack)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise Mismatch(
            f"{int(wrong.sum())} of {len(chosen)} draws are wrong; the number {uniforms[row]:.6f} "
            f"gave token {int(chosen[row])}, whose share is {below[row]:.6f} to {above[row]:.6f}"
        )
