"""Block tables of one side are rebuilt on the other from differences."""

from __future__ import annotations

import random

import pytest

from unisono.core import BatchRow, SamplingParams
from unisono.engine.seats import SeatedTables, Seats

GROUPS = 2


def row(name: str, *tables: list[int]) -> BatchRow:
    return BatchRow(
        request_id=name,
        token_ids=[1],
        start=0,
        block_tables=list(tables),
        num_logits=1,
        params=SamplingParams(),
        seed=0,
        num_prompt_tokens=1,
        all_token_ids=[1],
    )


def test_only_what_is_new_is_told() -> None:
    seats = Seats(GROUPS)
    (first,) = seats.seat([row("a", [1, 2], [3, 4])])
    assert (first.seat, first.changes) == (0, [(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 4)])
    a, b = seats.seat([row("a", [1, 2, 9], [0, 4, 8]), row("b", [], [])])
    assert (a.seat, a.changes) == (0, [(0, 2, 9), (1, 0, 0), (1, 2, 8)])
    assert (b.seat, b.changes) == (1, [])
    (again,) = seats.seat([row("b", [], [])])
    assert (again.seat, again.changes) == (1, [])


def test_who_was_away_longest_makes_room_and_nobody_of_the_same_step() -> None:
    seats = Seats(1)
    seats.seat([row("a", [1]), row("b", [2])])
    seats.seat([row("b", [2])])
    assert [s.seat for s in seats.seat([row("c", [3]), row("b", [2])])] == [0, 1]
    assert [s.seat for s in seats.seat([row("a", [1]), row("b", [2]), row("c", [3])])] == [2, 1, 0]
    assert len(seats) == 3


@pytest.mark.parametrize("seed", range(5))
def test_the_other_side_has_the_same_tables(seed: int) -> None:
    numbers = random.Random(seed)
    here, there = Seats(GROUPS), SeatedTables(GROUPS)
    tables: dict[str, list[list[int]]] = {}
    for _ in range(200):
        for name in numbers.sample("abcdefgh", numbers.randint(1, 5)):
            change = numbers.random()
            held = tables.setdefault(name, [[], []])
            if change < 0.2:
                tables[name] = [[numbers.randrange(99) for _ in range(3)] for _ in range(GROUPS)]
            elif change < 0.9:
                for table in held:
                    table.append(numbers.randrange(1, 99))
            if held[1]:
                held[1][0] = 0
        rows = [row(n, *tables[n]) for n in numbers.sample(sorted(tables), min(4, len(tables)))]
        for one, seated in zip(rows, here.seat(rows), strict=True):
            found = there.apply(seated.seat, seated.changes)
            pairs = zip(found, one.block_tables, strict=True)
            assert all(table[: len(known)] == known for table, known in pairs)
    assert len(here) == len(there) <= 4


@pytest.mark.parametrize(("seat", "change"), [(2, (0, 0, 1)), (0, (2, 0, 1)), (0, (0, 1, 1))])
def test_a_change_of_what_is_not_there(seat: int, change: tuple[int, int, int]) -> None:
    with pytest.raises(IndexError):
        SeatedTables(GROUPS).apply(seat, [change])
