"""Expected results of the ops of mixtures of experts: float64 on the host, with bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.conformance.expected import plain as expected
from unisono.conformance.expected.bounds import U32, gamma, underflow, unit_roundoff
from unisono.conformance.expected.comparing import Expected, exactly
from unisono.conformance.expected.math_apis import function_error
from unisono.hardware.ops.experts import Routing

Product = Callable[[Tensor, Tensor], Expected]
"""x [n, K], W [N, K] -> x W^T [n, N]."""
_STEEPEST = 1.1
"""The largest slope of x sigmoid(x)."""


def moe_route(
    logits: Tensor, routing: Routing, correction: Tensor | None
) -> tuple[Expected, Expected]:
    """Ids, which are exact as long as scores differ by more than they may be off, and weights."""
    scores = expected.softmax(logits.float()) if routing.score == "softmax" else _sigmoid(logits)
    ranks = scores.values if correction is None else scores.values + correction.double()
    ranks = torch.stack([_allowed(row, routing) for row in ranks])
    ids = ranks.argsort(-1, descending=True)[:, : routing.num_chosen]
    values, bound = scores.values.gather(-1, ids), scores.bound.gather(-1, ids)
    if routing.normalized:
        total = values.sum(-1, keepdim=True)
        relative = bound / values + bound.sum(-1, keepdim=True) / total
        relative = relative + function_error("divide") + gamma(routing.num_chosen, U32)
        values = values / total
        bound = 1.01 * relative * values
    scale = routing.scale
    return exactly(ids), Expected(values * scale, bound * scale + 2 * U32 * values * scale)


def _sigmoid(logits: Tensor) -> Expected:
    values = logits.double().sigmoid()
    relative = function_error("exp", logits) + function_error("divide") + gamma(2, U32)
    return Expected(values, relative * values + underflow(torch.float32))


def _allowed(ranks: Tensor, routing: Routing) -> Tensor:
    """One row [E] with -inf for what is in no chosen group."""
    if routing.num_groups == 1:
        return ranks
    groups = ranks.view(routing.num_groups, -1)
    best = groups.sort(-1, descending=True).values
    count = 2 if routing.group_score == "largest two" else 1
    chosen = best[:, :count].sum(-1).argsort(descending=True)[: routing.num_chosen_groups]
    allowed = torch.full_like(groups, -torch.inf)
    allowed[chosen] = groups[chosen]
    return allowed.flatten()


def moe_experts(
    x: Tensor,
    ids: Tensor,
    weights: Tensor,
    experts: Sequence[tuple[Tensor, Tensor]],
    product: Product = expected.linear,
) -> Expected:
    """Each expert is two products and a gated activation, each rounded to the dtype of x; what the
    first is off goes through the second. Then k terms in float32, rounded once."""
    values = torch.zeros(x.shape, dtype=torch.float64)
    bound, magnitudes = torch.zeros_like(values), torch.zeros_like(values)
    for token, row in enumerate(x):
        for slot, index in enumerate(ids[token].tolist()):
            gate_up, down = experts[index]
            out = _expert(row.unsqueeze(0), gate_up, down, product)
            weight = weights[token, slot].double()
            values[token] += weight * out.values[0]
            bound[token] += weight.abs() * out.bound[0]
            magnitudes[token] += weight.abs() * out.values[0].abs()
    rounding = gamma(2 * ids.shape[1] + 1, U32) * (magnitudes + bound)
    return Expected(values, bound + rounding + unit_roundoff(x.dtype) * (values.abs() + bound))


def _expert(x: Tensor, gate_up: Tensor, down: Tensor, product: Product) -> Expected:
    first = product(x, gate_up)
    gate, up = first.values.chunk(2, -1)
    of_gate, of_up = first.bound.chunk(2, -1)
    hidden, own = expected.silu_mul(first.values.to(x.dtype).double()), x.dtype
    values = F.silu(gate) * up
    relative = gamma(2, unit_roundoff(own)) + function_error("exp", gate) + function_error("divide")
    slack = _STEEPEST * of_gate * (up.abs() + of_up) + F.silu(gate).abs() * of_up
    slack = slack + (relative + gamma(4, U32)) * values.abs() + hidden.bound + underflow(own)
    second = product(values.to(own), down)
    moved = (slack + unit_roundoff(own) * values.abs()) @ down.double().abs().T
    exact = values @ down.double().T
    return Expected(exact, second.bound * 1.01 + 1.01 * moved)
