"""Mixtures of experts in plain torch: which experts a token takes, and what they make of it.

T tokens, E experts, k of them for each token, H hidden size, I width of an expert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

_FEW_TOKENS = 256
"""For which all experts are run on all tokens: reading their weights takes as long."""
_GATHERING_COST = 3
"""A copy of an expert's weights is read, written and read again."""
_AT_ONCE = 1 << 26
"""Numbers of weights that are gathered, or that experts give, in memory at a time; more only where
those of one expert are more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """The rule that turns scores of E experts into k of them with their weights."""

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


@dataclass(frozen=True, slots=True)
class StackedExperts(Sequence[Expert]):
    """The experts of a layer in one tensor for each of their parts, so that a device can look up
    those that its tokens take."""

    gate_up: Tensor
    """[E, 2 I, H]."""
    down: Tensor
    """[E, H, I]."""
    gate_up_bias: Tensor | None = None
    down_bias: Tensor | None = None

    def __len__(self) -> int:
        return len(self.gate_up)

    @overload
    def __getitem__(self, index: int) -> Expert: ...

    @overload
    def __getitem__(self, index: slice) -> StackedExperts: ...

    def __getitem__(self, index: int | slice) -> Expert | StackedExperts:
        """Views: the expert of a number, or the experts of a slice, stacked."""
        own = self._each(lambda part: part[index])
        return StackedExperts(*own) if isinstance(index, slice) else Expert(*own)

    def gathered(self, ids: Tensor) -> StackedExperts:
        """A copy of the experts ``ids`` [n]."""
        return StackedExperts(*self._each(lambda part: part.index_select(0, ids)))

    def _each(self, change: Callable[[Tensor], Tensor]) -> list[Any]:
        parts = (self.gate_up, self.down, self.gate_up_bias, self.down_bias)
        return [None if part is None else change(part) for part in parts]

    def run(self, x: Tensor, act_mul: Callable[[Tensor], Tensor]) -> Tensor:
        """x [E, n, H], rows of each expert, or [n, H] for all -> [E, n, H]."""
        return _product(
            act_mul(_product(x, self.gate_up, self.gate_up_bias)), self.down, self.down_bias
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = x @ weight.mT
    return out if bias is None else out + bias.unsqueeze(1)


def choose_experts(
    logits: Tensor, routing: Routing, correction: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Logits [T, E] -> ids int64 [T, k], the best first, and weights float32 [T, k]."""
    if correction is None and routing.num_groups == 1:
        # The order of the logits is that of the scores, and has no ties where scores are near 1.
        chosen, ids = logits.topk(routing.num_chosen, dim=-1)
        if routing.score == "softmax" and routing.normalized:
            return ids, _scaled(_scores(chosen, routing), routing)
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
    """Float32 [T, E]."""
    if routing.score == "softmax":
        return torch.softmax(logits, -1, dtype=torch.float32)
    return logits.float().sigmoid()


def _scaled(weights: Tensor, routing: Routing) -> Tensor:
    return weights if routing.scale == 1.0 else weights * routing.scale


def _within_groups(scores: Tensor, routing: Routing) -> Tensor:
    """Scores [T, E] with -inf for the experts of groups that are not chosen."""
    grouped = scores.view(len(scores), routing.num_groups, -1)
    best = min(2 if routing.group_score == "largest two" else 1, grouped.shape[-1])
    of_groups = grouped.topk(best, dim=-1).values.sum(-1)
    num_others = routing.num_groups - routing.num_chosen_groups
    others = of_groups.topk(num_others, dim=-1, largest=False).indices
    others = others.unsqueeze(-1).expand(-1, -1, grouped.shape[-1])
    return grouped.scatter(1, others, float("-inf")).flatten(-2)


def run_experts(
    x: Tensor,
    ids: Tensor,
    weights: Tensor,
    experts: Sequence[Expert],
    run: Callable[[Expert, Tensor], Tensor],
    act_mul: Callable[[Tensor], Tensor],
) -> Tensor:
    """The sum over a token's experts of weight * what the expert gives, in float32.

    Stacked experts on few tokens are looked up, or all run on all tokens, without a word from the
    device. Else each expert that any token takes runs once, on the rows of its tokens: which these
    are the host must ask.

    Args:
        x: [T, H].
        ids: int64 [T, k], different ones in a row.
        weights: float32 [T, k].
        run: an expert on rows [n, H] -> [n, H].
        act_mul: the product inside an expert, [..., 2 I] -> [..., I].
    """
    if len(x) == 0:
        return torch.empty_like(x)
    if not isinstance(experts, StackedExperts) or torch.is_grad_enabled() or len(x) > _FEW_TOKENS:
        outputs = _run_sorted(x, ids, lambda index, rows: run(experts[index], rows))
    elif _GATHERING_COST * ids.numel() <= len(experts):
        outputs = _run_gathered(x, ids, experts, act_mul)
    else:
        outputs = _run_all(x, ids, experts, act_mul)
    # A product, and a sum over k for each entry by itself: a row's bits are those of any batch.
    return (outputs * weights.unsqueeze(-1)).sum(1).to(x.dtype)


def stacked_numbers(
    num_tokens: int, num_experts: int, num_chosen: int, hidden: int, width: int
) -> int:
    """The most numbers that ``run_experts`` holds for stacked experts, beside what it is given and
    what the chosen ones give."""
    tokens, one = min(num_tokens, _FEW_TOKENS), 3 * hidden * width
    gathered = min(tokens * num_chosen, num_experts // _GATHERING_COST) * one
    run = tokens * (4 * width + hidden)
    return max(min(gathered, max(_AT_ONCE, one)), min(num_experts * run, max(_AT_ONCE, run)))


def _run_gathered(
    x: Tensor, ids: Tensor, experts: StackedExperts, act_mul: Callable[[Tensor], Tensor]
) -> Tensor:
    """Outputs of each token's experts, [T, k, H]: each on one token, by a copy of its weights."""
    rows, flat = x.repeat_interleave(ids.shape[1], 0).unsqueeze(1), ids.flatten()
    at_once = max(1, _AT_ONCE // (experts.gate_up[0].numel() + experts.down[0].numel()))
    outputs = [
        experts.gathered(some).run(own, act_mul)
        for own, some in zip(torch.split(rows, at_once), torch.split(flat, at_once), strict=True)
    ]
    return _joined(outputs).view(*ids.shape, -1)


def _run_all(
    x: Tensor, ids: Tensor, experts: StackedExperts, act_mul: Callable[[Tensor], Tensor]
) -> Tensor:
    """The same: all experts on all tokens, of which a token keeps what its own ones give."""
    held = len(x) * (2 * experts.gate_up.shape[1] + experts.down.shape[1])
    at_once = max(1, _AT_ONCE // held)
    if len(experts) <= at_once:
        return _own(experts.run(x, act_mul), ids)
    outputs = x.new_zeros((*ids.shape, x.shape[1]))
    for start in range(0, len(experts), at_once):
        part = experts[start : start + at_once]
        own = ids - start
        inside = ((own >= 0) & (own < len(part))).unsqueeze(-1)
        found = _own(part.run(x, act_mul), own.clamp(0, len(part) - 1))
        outputs = torch.where(inside, found, outputs)
    return outputs


def _own(given: Tensor, ids: Tensor) -> Tensor:
    """Selects each token's own outputs, [T, k, H], from those of all experts, [E, T, H]."""
    index = ids.T.unsqueeze(-1).expand(-1, -1, given.shape[2])
    return given.gather(0, index).transpose(0, 1)


def _run_sorted(x: Tensor, ids: Tensor, run: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The same: each expert once, on the rows of all tokens that take it."""
    if len(x) == 1:
        return torch.cat([run(expert, x) for expert in ids[0].tolist()]).unsqueeze(0)
    flat = ids.flatten()
    experts, order = flat.sort(stable=True)
    hit, counts = torch.unique_consecutive(experts, return_counts=True)
    rows = torch.split(x.index_select(0, order // ids.shape[1]), counts.tolist())
    parts = [run(expert, part) for expert, part in zip(hit.tolist(), rows, strict=True)]
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
    return torch.cat(parts).index_select(0, back).view(*ids.shape, -1)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
