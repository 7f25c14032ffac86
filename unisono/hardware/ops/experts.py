"""Mixtures of experts in plain torch: which experts a token takes, and what they make of it.

T tokens, E experts, k of them for each token, H hidden size, I width of an expert.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["Expert", "Routing", "choose_experts", "run_experts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """How the scores of E experts become k of them with their weights."""

    num_chosen: int
    score: Literal["softmax", "sigmoid"] = "softmax"
    normalized: bool = False
    """The weights of a token's experts are made to sum to 1. Of a softmax that is the softmax over
    the chosen alone."""
    scale: float = 1.0
    """All weights are multiplied by it in the end."""
    num_groups: int = 1
    """Groups of experts of equal size, one behind the other."""
    num_chosen_groups: int = 1
    """Experts are chosen from the groups with the largest scores alone."""
    group_score: Literal["largest", "largest two"] = "largest two"
    """A group's score: its best expert's, or the sum of its two best (DeepSeek-V2 and -V3)."""


class Expert(NamedTuple):
    """The weights of a gated MLP, as ``prepare_linear`` left them."""

    gate_up: Any
    """[2 I, H]."""
    down: Any
    """[H, I]."""
    gate_up_bias: Tensor | None = None
    down_bias: Tensor | None = None


def choose_experts(
    logits: Tensor, routing: Routing, correction: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Logits [T, E] -> ids int64 [T, k], the best first, and weights float32 [T, k]."""
    logits = logits.float()
    if correction is None and routing.num_groups == 1:
        # The order of the logits is that of the scores, and has no ties where scores are near 1.
        chosen, ids = logits.topk(routing.num_chosen, dim=-1)
        if routing.score == "softmax" and routing.normalized:
            return ids, _scaled(torch.softmax(chosen, -1), routing)
        weights = _scores(logits, routing).gather(-1, ids)
    else:
        scores = _scores(logits, routing)
        ranks = scores if correction is None else scores + correction
        if routing.num_groups > 1:
            ranks = _within_groups(ranks, routing)
        ids = ranks.topk(routing.num_chosen, dim=-1).indices
        weights = scores.gather(-1, ids)
    if routing.normalized:
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-20)
    return ids, _scaled(weights, routing)


def _scores(logits: Tensor, routing: Routing) -> Tensor:
    return torch.softmax(logits, -1) if routing.score == "softmax" else logits.sigmoid()


def _scaled(weights: Tensor, routing: Routing) -> Tensor:
    return weights if routing.scale == 1.0 else weights * routing.scale


def _within_groups(scores: Tensor, routing: Routing) -> Tensor:
    """Scores [T, E] with -inf for the experts of groups that are not chosen."""
    grouped = scores.view(len(scores), routing.num_groups, -1)
    best = min(2 if routing.group_score == "largest two" else 1, grouped.shape[-1])
    of_groups = grouped.topk(best, dim=-1).values.sum(-1)
    chosen = of_groups.topk(routing.num_chosen_groups, dim=-1).indices
    dropped = torch.ones_like(of_groups, dtype=torch.bool).scatter(-1, chosen, False)
    return grouped.masked_fill(dropped.unsqueeze(-1), float("-inf")).flatten(-2)


def run_experts(
    x: Tensor, ids: Tensor, weights: Tensor, run: Callable[[int, Tensor], Tensor]
) -> Tensor:
    """The sum over a token's experts of weight * run(expert, rows).

    Each expert that any token takes runs once, on the rows of its tokens. The sum is in float32.

    Args:
        x: [T, H].
        ids: int64 [T, k], different ones in a row.
        weights: float32 [T, k].
        run: an expert on rows [n, H] -> [n, H].
    """
    if len(x) == 0:
        return torch.empty_like(x)
    outputs = _run_alone(x, ids, run) if len(x) == 1 else _run_sorted(x, ids, run)
    # A product, and a sum over k for each entry by itself: a row's bits are those of any batch.
    return (outputs * weights.unsqueeze(-1)).sum(1).to(x.dtype)


def _run_alone(x: Tensor, ids: Tensor, run: Callable[[int, Tensor], Tensor]) -> Tensor:
    """``_run_sorted`` of one token, which has nothing to sort."""
    return torch.cat([run(expert, x) for expert in ids[0].tolist()]).unsqueeze(0)


def _run_sorted(x: Tensor, ids: Tensor, run: Callable[[int, Tensor], Tensor]) -> Tensor:
    """What each token's experts give, [T, k, H]."""
    flat = ids.flatten()
    experts, order = flat.sort(stable=True)
    hit, counts = torch.unique_consecutive(experts, return_counts=True)
    rows = torch.split(x.index_select(0, order // ids.shape[1]), counts.tolist())
    parts = [run(expert, part) for expert, part in zip(hit.tolist(), rows, strict=True)]
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
    return torch.cat(parts).index_select(0, back).view(*ids.shape, -1)
