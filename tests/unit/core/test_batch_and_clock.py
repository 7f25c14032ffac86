"""Positions of a row, and a clock that moves when told to."""

from __future__ import annotations

import pytest

from unisono.core import Batch, BatchRow, ManualClock, MonotonicClock, SamplingParams


def row(start: int, count: int) -> BatchRow:
    return BatchRow(
        request_id="a",
        token_ids=list(range(start, start + count)),
        start=start,
        block_tables=[[]],
        num_logits=1,
        params=SamplingParams(),
        seed=0,
        num_prompt_tokens=5,
        all_token_ids=list(range(start + count)),
    )


def test_the_first_answer_token_has_position_0() -> None:
    assert row(0, 5).sample_position == 0
    assert row(3, 2).sample_position == 0
    assert row(5, 1).sample_position == 1
    assert row(5, 1).end == 6


def test_tokens_of_a_batch() -> None:
    assert Batch([]).num_tokens == 0
    assert Batch([row(0, 5), row(7, 1)]).num_tokens == 6


def test_the_manual_clock() -> None:
    clock = ManualClock(5.0)
    clock.advance(2.5)
    assert clock.now() == 7.5
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1.0)


def test_the_machines_clock_does_not_go_backwards() -> None:
    clock = MonotonicClock()
    times = [clock.now() for _ in range(100)]
    assert times == sorted(times)
