"""Mixtures of experts: which experts a token takes, and the sum of what they give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected import experts as expected_experts
from unisono.conformance.expected import plain as expected
from unisono.conformance.expected.comparing import Expected
from unisono.conformance.registry import check
from unisono.core.weight_format import WeightFormat
from unisono.hardware.ops.experts import Expert, Routing, StackedExperts
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.quantized import quantize

_SOFTMAX = Routing(num_chosen=3)
_SIGMOID = Routing(num_chosen=4, score="sigmoid", normalized=True, scale=2.5)
_ROUTINGS = {
    "softmax": _SOFTMAX,
    "softmax of the chosen": replace(_SOFTMAX, normalized=True),
    "one expert": Routing(num_chosen=1, score="sigmoid"),
    "all experts": Routing(num_chosen=16, normalized=True),
    "sigmoid, scaled": _SIGMOID,
    "groups by their two best": replace(_SIGMOID, num_groups=4, num_chosen_groups=2),
    "groups by their best": replace(
        _SOFTMAX, num_groups=4, num_chosen_groups=2, group_score="largest"
    ),
}
_NUM_EXPERTS = 16


@check("ops.moe_route", "experts of a token and their weights", covers=("moe_route",))
def routing(context: Context) -> None:
    for dtype in context.dtypes:
        for count in (1, 2, 7, 65):
            logits = _distinct(count).to(dtype)
            for words, one in _ROUTINGS.items():
                _route(context, logits, one, None, words)
            correction = _correction()
            for words in ("sigmoid, scaled", "groups by their two best"):
                _route(context, logits, _ROUTINGS[words], correction, f"{words}, corrected")


def _distinct(count: int) -> Tensor:
    """Logits [count, E] that lie far enough apart in each dtype; no two rows alike."""
    order = torch.stack([inputs.normal(_NUM_EXPERTS, seed=20 + i).argsort() for i in range(count)])
    return (order - _NUM_EXPERTS / 2) / 4


def _correction() -> Tensor:
    """Moves the choice, and makes no two scores alike."""
    return torch.tensor([0.0, 0.31, -0.17, 0.6]).repeat(_NUM_EXPERTS // 4)


def _route(
    context: Context, logits: Tensor, how: Routing, correction: Tensor | None, words: str
) -> None:
    name = str(logits.dtype).removeprefix("torch.")
    with context.case(f"{name} {len(logits)} tokens, {words}"):
        want = expected_experts.moe_route(logits, how, correction)
        given = context.put(logits), how, None if correction is None else context.put(correction)
        context.verify(context.ops.moe_route, want, dtype=(torch.int64, torch.float32), given=given)


@check(
    "ops.moe_experts",
    "experts on the tokens that take them; one that none takes is not read",
    covers=("moe_experts",),
)
def experts(context: Context) -> None:
    for dtype in context.dtypes:
        for tokens, chosen in ((1, 1), (1, 4), (2, 2), (5, 4), (33, 3)):
            x = inputs.normal(tokens, 40, dtype=dtype, seed=1)
            held = [_weights(i, dtype) for i in range(_NUM_EXPERTS)]
            held[_NUM_EXPERTS - 1][0].fill_(torch.nan)
            ids, weights = _choice(tokens, chosen)
            name = str(dtype).removeprefix("torch.")
            with context.case(f"{name} {tokens} tokens, {chosen} experts each"):
                want = expected_experts.moe_experts(x, ids, weights, held)
                prepare = context.ops.prepare_linear
                ready = [
                    Expert(*(prepare(context.put(matrix.clone())) for matrix in pair))
                    for pair in held
                ]
                given = context.put(x), context.put(ids), context.put(weights), ready
                context.verify(context.ops.moe_experts, want, dtype=dtype, given=given)
                if context.ops.stacks_experts:
                    _run_stacked(context, want, given[:3], held)


def _run_stacked(
    context: Context, want: Expected, given: tuple[Any, ...], held: list[tuple[Tensor, Tensor]]
) -> None:
    """The same experts in one tensor for each part."""
    experts = StackedExperts(*(context.put(torch.stack(part)) for part in zip(*held, strict=True)))

    def run() -> Tensor:
        with torch.inference_mode():
            return context.ops.moe_experts(*given, experts)

    context.verify(run, want, dtype=given[0].dtype)


def _weights(index: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    first = inputs.normal(2 * 24, 40, seed=100 + index) / 6
    return first.to(dtype), (inputs.normal(40, 24, seed=200 + index) / 5).to(dtype)


def _choice(tokens: int, chosen: int) -> tuple[Tensor, Tensor]:
    """Ids, none of them the last expert's, and weights."""
    ids = torch.stack(
        [inputs.normal(_NUM_EXPERTS - 1, seed=300 + i).argsort()[:chosen] for i in range(tokens)]
    )
    return ids, inputs.positive(tokens, chosen, seed=2)


@check("ops.moe_quantized", "experts with weights of 4 and 8 bits")
def quantized_experts(context: Context) -> None:
    for text in ("int8", "int4"):
        format = WeightFormat.parse(text)
        assert format is not None
        held = [
            [quantize(matrix, format) for matrix in _weights(i, torch.float32)]
            for i in range(_NUM_EXPERTS)
        ]
        for dtype in context.dtypes:
            x, (ids, weights) = inputs.normal(5, 40, dtype=dtype, seed=3), _choice(5, 2)
            name = str(dtype).removeprefix("torch.")
            with context.case(f"{name} {text}"):
                plain = [(first.dequantize(), second.dequantize()) for first, second in held]
                want = expected_experts.moe_experts(x, ids, weights, plain, _rounded(format))
                ready = [Expert(*(_prepared(context, one) for one in pair)) for pair in held]
                given = context.put(x), context.put(ids), context.put(weights), ready
                context.verify(context.ops.moe_experts, want, dtype=dtype, given=given)


def _rounded(format: WeightFormat) -> expected_experts.Product:
    def product(x: Tensor, values: Tensor) -> Expected:
        return expected.quantized_linear(x, values, format.group_size)

    return product


def _prepared(context: Context, weight: LevelWeight) -> Any:
    return context.ops.prepare_quantized(weight.to(context.device))
