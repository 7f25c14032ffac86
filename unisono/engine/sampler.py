"""From logits to tokens and log-probabilities, each row by its own parameters.

Every random choice is a function of (seed, position) and of the row's own logits, so it does not
depend on what else is in the batch.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

from unisono.core.batch import BatchRow, RowResult
from unisono.core.random import uniform
from unisono.core.request import TokenLogprob
from unisono.hardware.ops.portable import PortableOps

__all__ = ["NOT_FINITE", "Sampler", "token_logprobs"]

NOT_FINITE = (
    "The logits are not finite: the weights or the dtype do not fit this input, "
    "or its penalties are too strong."
)


T = TypeVar("T")


class Sampler:
    """``eos_token_ids`` are kept back while a row's answer is shorter than its minimum."""

    def __init__(self, ops: PortableOps, eos_token_ids: frozenset[int]) -> None:
        self.ops = ops
        self.eos_token_ids = eos_token_ids

    def __call__(self, logits: Tensor, rows: list[BatchRow]) -> list[RowResult]:
        """logits float32 [R, V], which may be changed in place -> one result a row."""
        logprobs = {
            i: torch.log_softmax(logits[i], dim=-1)
            for i, row in enumerate(rows)
            if row.params.logprobs is not None
        }
        for i, row in enumerate(rows):
            self._adjust(logits[i], row)
        finite = [math.isfinite(most) for most in logits.amax(-1).tolist()]
        for i in range(len(rows)):
            if not finite[i]:
                logits[i] = 0.0
        token_ids = self._choose(logits, rows)
        return [
            _result(token_ids[i], logprobs.get(i), row)
            if finite[i]
            else RowResult(error=NOT_FINITE)
            for i, row in enumerate(rows)
        ]

    def _choose(self, logits: Tensor, rows: list[BatchRow]) -> list[int]:
        chosen = [0] * len(rows)
        for greedy, choose in ((True, self._best), (False, self._draw)):
            members = [i for i, row in enumerate(rows) if row.params.greedy is greedy]
            if members:
                picked = logits if len(members) == len(rows) else logits[members]
                token_ids = choose(picked, [rows[i] for i in members])
                for i, token_id in zip(members, token_ids.tolist(), strict=True):
                    chosen[i] = token_id
        return chosen

    def _adjust(self, logits: Tensor, row: BatchRow) -> None:
        """Penalties, bias, allowed tokens and minimum length on one row [V], in place."""
        params = row.params
        if params.has_penalties:
            _penalise(logits, row)
        if params.logit_bias:
            ids = torch.tensor(list(params.logit_bias), device=logits.device)
            values = torch.tensor(list(params.logit_bias.values()), device=logits.device)
            logits.index_add_(0, ids, values.to(logits.dtype))
        if params.allowed_token_ids is not None:
            _allow_only(logits, params.allowed_token_ids)
        stops = () if row.allow_stop else (*self.eos_token_ids, *params.stop_token_ids)
        if stops:
            logits[list(stops)] = float("-inf")

    def _best(self, logits: Tensor, rows: list[BatchRow]) -> Tensor:
        return self.ops.argmax(logits)

    def _draw(self, logits: Tensor, rows: list[BatchRow]) -> Tensor:
        params, device = [row.params for row in rows], logits.device
        temperatures = [_filled(p.temperature) for p in params]
        if temperatures != [1.0] * len(rows):
            logits = _divide(logits, torch.tensor(temperatures, device=device))
        uniforms = [uniform(row.seed, row.sample_position) for row in rows]
        return self.ops.draw(
            logits,
            torch.tensor(uniforms, device=device),
            top_k=[_filled(p.top_k) for p in params],
            top_p=[_filled(p.top_p) for p in params],
            min_p=[_filled(p.min_p) for p in params],
        )


def _filled(value: T | None) -> T:
    """A parameter that a request always has (``core.Request``)."""
    assert value is not None
    return value


def _allow_only(logits: Tensor, token_ids: tuple[int, ...]) -> None:
    """Leaves of one row [V] only these, in place."""
    ids = torch.tensor(token_ids, device=logits.device)
    allowed = logits[ids]
    logits.fill_(float("-inf"))
    logits[ids] = allowed


def _divide(logits: Tensor, temperatures: Tensor) -> Tensor:
    """logits [R, V] / temperatures [R], less the largest, so that the lowest temperature that
    there is leaves that one finite."""
    shifted = logits - logits.amax(-1, keepdim=True)
    return shifted / temperatures.clamp(min=torch.finfo(shifted.dtype).tiny).unsqueeze(1)


def _penalise(logits: Tensor, row: BatchRow) -> None:
    params = row.params
    answer = torch.tensor(row.all_token_ids[row.num_prompt_tokens :], dtype=torch.int64)
    if (penalty := _filled(params.repetition_penalty)) != 1.0:
        seen = torch.unique(torch.tensor(row.all_token_ids)).to(logits.device)
        values = logits[seen]
        logits[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if params.presence_penalty or params.frequency_penalty:
        ids, counts = torch.unique(answer, return_counts=True)
        amounts = params.presence_penalty + params.frequency_penalty * counts.float()
        logits[ids.to(logits.device)] -= amounts.to(logits.device)


def _result(token_id: int, logprobs: Tensor | None, row: BatchRow) -> RowResult:
    result = RowResult([token_id])
    if logprobs is not None:
        target = torch.tensor([token_id], device=logprobs.device)
        result.logprobs = token_logprobs(logprobs.unsqueeze(0), target, row.params.logprobs or 0)
    return result


def token_logprobs(logprobs: Tensor, targets: Tensor, num_top: int) -> list[TokenLogprob]:
    """Of log-probabilities [N, V]: those of ``targets`` [N], their ranks, and the likeliest few."""
    own = logprobs.gather(1, targets.unsqueeze(1))
    ranks = ((logprobs > own).sum(-1) + 1).tolist()
    top_values, top_ids = logprobs.topk(min(num_top, logprobs.shape[1]), dim=-1)
    tops = [
        tuple(zip(ids, values, strict=True))
        for ids, values in zip(top_ids.tolist(), top_values.tolist(), strict=True)
    ]
    return [
        TokenLogprob(token_id, value, rank, top)
        for token_id, value, rank, top in zip(
            targets.tolist(), own.squeeze(1).tolist(), ranks, tops, strict=True
        )
    ]
