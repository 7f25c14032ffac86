"""Drafts from what was said before, and how many are worth their time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest

from unisono.core import Batch, BatchRow, EngineConfig, SamplingParams
from unisono.core.errors import ConfigError
from unisono.engine.drafting.acceptance import Acceptance
from unisono.engine.drafting.costs import Costs
from unisono.engine.drafting.ngram import NgramDrafter
from unisono.engine.drafting.speculation import Speculation


def row(
    text: Sequence[int], request_id: str = "a", num_drafted: int = 0, **params: Any
) -> BatchRow:
    return BatchRow(
        request_id=request_id,
        token_ids=text[-1 - num_drafted :],
        start=len(text) - 1,
        block_tables=[[]],
        num_logits=1 + num_drafted,
        params=SamplingParams(**params),
        seed=0,
        num_prompt_tokens=1,
        all_token_ids=text,
    )


def guess(text: Sequence[int], count: int = 4) -> list[int]:
    return NgramDrafter().draft([row(text)], [count])[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ([], []),
        ([1, 2, 3, 4], []),
        ([1, 2, 3, 4, 1, 2], [3, 4, 1, 2]),
        ([1, 2, 3, 9, 1, 2, 4, 9, 1, 2], [4, 9, 1, 2]),  # the last place
        ([5, 6, 1, 2, 3, 8, 8, 7, 1, 2, 4, 8, 5, 6, 1, 2], [3, 8, 8, 7]),  # the longest
        ([7, 7, 7], [7, 7, 7, 7]),
        ([1, 2, 1, 2, 1, 2], [1, 2, 1, 2]),
    ],
)
def test_what_followed_before_is_guessed(text: list[int], expected: list[int]) -> None:
    assert guess(text) == expected


def test_another_number_in_what_is_alike_ends_no_likeness() -> None:
    record = [11, 12, 13, 14, 18, 19, 5, 15, 16, 17]
    drafter = NgramDrafter()
    text = [*record, 21, *record[:6], 6]
    for end in range(1, len(text) + 1):
        (found,) = drafter.draft([row(text[:end])], [3])
    assert found == [15, 16, 17]


def test_an_index_that_grows_guesses_like_one_made_at_once() -> None:
    numbers = random.Random(0)
    text: list[int] = []
    drafter = NgramDrafter()
    for _ in range(60):
        text += [numbers.randrange(3) for _ in range(numbers.randint(1, 4))]
        assert drafter.draft([row(text)], [5])[0] == guess(text, 5)


def test_a_request_that_is_over_leaves_nothing() -> None:
    drafter = NgramDrafter()
    drafter.draft([row([1, 2, 3, 1, 2])], [4])
    drafter.forget("a")
    drafter.forget("unknown")
    assert drafter.draft([row([1, 2, 5])], [4]) == [[]]


def test_chances_follow_what_came_true() -> None:
    good, bad = Acceptance(), Acceptance()
    for _ in range(20):
        good.learn([1, 2, 3], [1, 2, 3, 4])
        bad.learn([1, 2, 3], [9, 2, 3])
    assert list(islice(good.chances(), 8))[-1] > 0.5
    assert next(bad.chances()) < 0.1
    found = list(islice(good.chances(), 9))
    assert found == sorted(found, reverse=True)


def measured(*seconds: float, num_rows: int = 1) -> Costs:
    """Costs, given the seconds of steps with 0, 1, ... drafts a row."""
    costs = Costs()
    for _ in range(4):
        for count, one in reversed(list(enumerate(seconds))):
            costs.add(num_rows, count * num_rows, one)
    return costs


def test_times_are_those_measured_and_between_them_in_proportion() -> None:
    assert measured(2.0, 2.2, 2.4).times(1, 4) == pytest.approx([1, 1.1, 1.2, 1.3, 1.4])
    assert measured(1.0).times(1, 2)[2] > 1.1
    assert measured(1.0, 0.5).times(1, 2)[2] > 1.0


def test_a_step_without_drafts_is_measured_first_and_now_and_then() -> None:
    costs = Costs()
    assert costs.is_due(3)
    costs.add(3, 0, 1.0)
    assert not costs.is_due(3)
    for _ in range(64):
        costs.add(3, 6, 1.0)
    assert costs.is_due(3)


class Fixed:
    """Guesses the same tokens always."""

    def __init__(self, tokens: list[int], *, is_free: bool = True) -> None:
        self.tokens, self.is_free, self.asked = tokens, is_free, 0

    def draft(self, rows: Sequence[BatchRow], counts: Sequence[int]) -> list[list[int]]:
        self.asked += sum(counts)
        return [self.tokens[:count] for count in counts]

    def forget(self, request_id: str) -> None: ...


def drafted(
    drafter: Fixed, step_s: Sequence[float], coming: Sequence[int], steps: int = 200
) -> list[int]:
    """The number of drafts in each step of an answer that ``coming`` goes on in a circle."""
    speculation = Speculation(drafter, 3, costs=measured(*step_s))
    text, counts = [0], []
    for _ in range(steps):
        (drafts,) = speculation.draft([row(text)], [3], 64)
        counts.append(len(drafts))
        speculation.measure(Batch([row(text, num_drafted=len(drafts))]), step_s[len(drafts)])
        text.append(coming[len(text) % len(coming)])
    return counts


CHEAP, DEAR = [1.0, 1.05, 1.1, 1.15], [1.0, 2.0, 3.0, 4.0]


def test_drafts_that_come_true_go_on_where_they_are_cheap() -> None:
    assert sum(drafted(Fixed([5, 5, 5]), CHEAP, [5])) > 500
    assert sum(drafted(Fixed([5, 5, 5]), DEAR, [5])) == 0


@pytest.mark.parametrize("is_free", [True, False])
def test_drafts_that_do_not_come_true_end_themselves(is_free: bool) -> None:
    counts = drafted(Fixed([5, 5, 5], is_free=is_free), CHEAP, [6])
    assert sum(counts) < 30
    assert sum(counts[100:]) <= 1


def test_a_drafter_that_costs_is_asked_for_no_more_than_is_computed() -> None:
    drafter = Fixed([5, 5, 5], is_free=False)
    assert sum(drafted(drafter, CHEAP, [6])) == drafter.asked


def test_nothing_is_drafted_beyond_the_room_nor_from_a_stop_on() -> None:
    costs = measured(*CHEAP)
    for _ in range(4):
        costs.add(3, 0, 1.0)
        costs.add(3, 9, 1.1)
    speculation = Speculation(Fixed([5, 5, 2]), 3, frozenset({2}), costs)
    rows = [row([0], name, stop_token_ids=(7,)) for name in "abc"]
    for _ in range(20):
        speculation.draft(rows, [3, 3, 3], 64)
        for one in rows:
            one.all_token_ids.append(5)  # type: ignore[attr-defined]
    assert list(map(len, speculation.draft(rows, [3, 1, 0], 64))) == [2, 1, 0]
    assert list(map(len, speculation.draft(rows, [3, 3, 3], 3))) == [2, 1, 0]
    ends = [row([0], ignore_eos=True), row([0], "b", stop_token_ids=(5,))]
    assert [len(speculation._cut(one, [5, 5, 2])) for one in ends] == [3, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speculate_tokens": 0}, "1 to 32"),
        ({"speculate_tokens": 33}, "1 to 32"),
        ({"speculate": ""}, "empty"),
        ({"speculate": None}, "a text"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EngineConfig(**options)
