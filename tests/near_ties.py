"""Compares orders of numbers that two programs computed, each with its own rounding.

Numbers nearer to one another than they are rounded have no order of their own: another processor,
another instruction set or another batch may put them the other way round. Whoever compares a rank,
a likeliest token or a greedy answer with an oracle asks here, and never for equality.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from tests.engines import request, run
from unisono.core import SamplingParams, TokenLogprob
from unisono.engine import Engine


def rounding(row: torch.Tensor) -> float:
    """The distance at which a float32 pass may be from another, in any entry of a row of logits
    or log-probabilities [V]."""
    return max(2e-4, 2e-5 * row[row.isfinite()].abs().max().item())


def ranks(row: torch.Tensor, token_id: int) -> range:
    """Every rank, from 1, that a token may have in ``row`` [V]."""
    apart = 2 * rounding(row)
    first = 1 + int((row > row[token_id] + apart).sum())
    return range(first, 1 + int((row >= row[token_id] - apart).sum()))


def are_likeliest(token_ids: Sequence[int], row: torch.Tensor) -> bool:
    """True where these may be the likeliest tokens of ``row`` [V], in this order."""
    in_place = all(rank in ranks(row, token_id) for rank, token_id in enumerate(token_ids, start=1))
    return in_place and len(set(token_ids)) == len(token_ids)


def check_scores(entry: TokenLogprob | None, token_id: int, row: torch.Tensor) -> None:
    """An engine's log-probability and rank of a token agree with the oracle's ``row`` [V]."""
    assert entry is not None
    assert entry.token_id == token_id
    assert entry.logprob == pytest.approx(row[token_id].item(), abs=rounding(row))
    assert entry.rank in ranks(row, token_id)
    assert are_likeliest([likely for likely, _ in entry.top], row)
    values = row.topk(len(entry.top)).values.tolist()
    assert [value for _, value in entry.top] == pytest.approx(values, abs=rounding(row))


def is_likeliest(token_id: int, row: torch.Tensor, *, apart: float | None = None) -> bool:
    """True where a token may be the likeliest of ``row`` [V]: none is more than ``apart`` above it,
    twice the rounding unless something else is said."""
    limit = 2 * rounding(row) if apart is None else apart
    return bool(row[token_id] >= row.max() - limit)


def num_equal(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that two answers begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def are_the_same(
    engine: Engine,
    prompts: list[list[int]],
    found: list[list[int]],
    expected: list[list[int]],
    *,
    apart: float = 1e-3,
) -> bool:
    """True where greedy answers are the same up to the first near tie of each: where two part,
    ``engine`` scores both tokens within ``apart`` of one another."""
    lengths = [list(map(len, answers)) for answers in (found, expected)]
    return lengths[0] == lengths[1] and all(
        ours == theirs or _part_at_a_tie(engine, prompt, ours, theirs, apart)
        for prompt, ours, theirs in zip(prompts, found, expected, strict=True)
    )


def _part_at_a_tie(
    engine: Engine, prompt: list[int], ours: list[int], theirs: list[int], apart: float
) -> bool:
    count = num_equal(ours, theirs)
    both = [prompt + answer[: count + 1] for answer in (ours, theirs)]
    scoring = SamplingParams(max_tokens=0, prompt_logprobs=0)
    done = run(engine, [request(f"near-tie-{i}", ids, scoring) for i, ids in enumerate(both)])
    first, second = ((scored.prompt_logprobs or [None])[-1] for scored in done.values())
    assert first is not None
    assert second is not None
    return abs(first.logprob - second.logprob) <= apart
