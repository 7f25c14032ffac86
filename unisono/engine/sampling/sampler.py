"""From logits to tokens and log-probabilities, each row by its own parameters.

Every random choice is a function of (seed, position) and of the row's own logits, so it does not
depend on what else is in the batch. What the device needs to know travels in one copy, and what it
found in another.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from unisono.core.batch import BatchRow, RowResult
from unisono.core.random import uniform
from unisono.engine.parcel import Parcel, fetch, is_host
from unisono.engine.sampling.constraints import Masks
from unisono.engine.sampling.logit_edits import pack_edits
from unisono.engine.sampling.logprobs import logprob_lines, read_logprobs
from unisono.hardware.ops.portable import PortableOps

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
        self._parcel = Parcel()

    def __call__(
        self, logits: Tensor, rows: list[BatchRow], masks: Masks | None = None
    ) -> list[RowResult]:
        """logits float32 [R, V], which may be changed in place -> one result a row."""
        shown = [i for i, row in enumerate(rows) if row.params.logprobs is not None]
        drawn = [i for i, row in enumerate(rows) if not row.params.greedy]
        parcel = self._parcel
        edits = pack_edits(rows, logits.shape[1], self.eos_token_ids, masks, parcel)
        which_shown = _Which(shown, len(rows), parcel)
        draw = _Draw([rows[i] for i in drawn], _Which(drawn, len(rows), parcel), parcel)
        sent = parcel.send(logits.device)
        logprobs = torch.log_softmax(which_shown.of(logits, sent), dim=-1) if shown else None
        for edit in edits:
            edit.apply(logits, sent)
        tops = logits.amax(-1)
        _clear_unfit(logits, tops)
        token_ids = self._choose(logits, draw, sent)
        found = [token_ids, tops]
        if logprobs is not None:
            num_top = max(rows[i].params.logprobs or 0 for i in shown)
            lines = logprob_lines(logprobs, which_shown.of(token_ids, sent), num_top)
            found.append(lines.flatten())
        return _read(fetch(found), rows, shown)

    def _choose(self, logits: Tensor, draw: _Draw, sent: list[Tensor]) -> Tensor:
        """Token ids int64 [R]."""
        if not draw.rows:
            return self.ops.argmax(logits)
        drawn = draw.run(self.ops, logits, sent)
        if draw.which.at is None:
            return drawn
        return self.ops.argmax(logits).index_copy_(0, sent[draw.which.at], drawn)


class _Which:
    """Some rows of a step, as an index that travels unless it is all of them, or none."""

    def __init__(self, indices: list[int], num_rows: int, parcel: Parcel) -> None:
        self.at = parcel.add(indices) if 0 < len(indices) < num_rows else None

    def of(self, x: Tensor, sent: list[Tensor]) -> Tensor:
        return x if self.at is None else x.index_select(0, sent[self.at])


class _Draw:
    """The rows that are not greedy."""

    def __init__(self, rows: list[BatchRow], which: _Which, parcel: Parcel) -> None:
        self.rows, self.which = rows, which
        if not rows:
            return
        self.uniforms = parcel.add([uniform(r.seed, r.sample_position) for r in rows], real=True)
        temperatures = [_filled(row.params.temperature) for row in rows]
        plain = temperatures == [1.0] * len(rows)
        self.temperatures = None if plain else parcel.add(temperatures, real=True)

    def run(self, ops: PortableOps, logits: Tensor, sent: list[Tensor]) -> Tensor:
        """logits [R, V] of all rows -> token ids of these."""
        picked, params = self.which.of(logits, sent), [row.params for row in self.rows]
        if self.temperatures is not None:
            picked = _divide(picked, sent[self.temperatures])
        return ops.draw(
            picked,
            sent[self.uniforms],
            top_k=[_filled(p.top_k) for p in params],
            top_p=[_filled(p.top_p) for p in params],
            min_p=[_filled(p.min_p) for p in params],
        )


def _filled(value: T | None) -> T:
    """A parameter that a request always has (``core.Request``)."""
    assert value is not None
    return value


def _clear_unfit(logits: Tensor, tops: Tensor) -> None:
    """Rows whose largest logit [R] is not finite become zeros, in place."""
    if is_host(logits.device) and all(map(math.isfinite, tops.tolist())):
        return  # to look costs nothing on the host, and to clear would
    logits.masked_fill_(~tops.isfinite().unsqueeze(1), 0.0)


def _divide(logits: Tensor, temperatures: Tensor) -> Tensor:
    """logits [R, V] / temperatures [R], less the largest, so that the lowest temperature that
    there is leaves that one finite."""
    shifted = logits - logits.amax(-1, keepdim=True)
    return shifted / temperatures.clamp(min=torch.finfo(shifted.dtype).tiny).unsqueeze(1)


def _read(found: list[Tensor], rows: list[BatchRow], shown: list[int]) -> list[RowResult]:
    """Results from the tokens and largest logits of all rows, and the lines of those that show
    log-probabilities."""
    token_ids, tops, *lines = found
    results = [
        RowResult([token_id]) if math.isfinite(top) else RowResult(error=NOT_FINITE)
        for token_id, top in zip(token_ids.tolist(), tops.tolist(), strict=True)
    ]
    if lines:
        entries = read_logprobs(lines[0].view(len(shown), -1))
        for i, entry in zip(shown, entries, strict=True):
            if results[i].error is None:
                entry = replace(entry, top=entry.top[: rows[i].params.logprobs])
                results[i].logprobs = [entry]
    return results
