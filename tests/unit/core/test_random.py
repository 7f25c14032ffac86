"""Counter-based random numbers: pure, in range, even, and fixed for ever."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from unisono.core import derive_seed, uniform

RECORDED = [
    0.6524484863740322,
    0.7012121095215252,
    0.6186972209020031,
    0.34329192209867343,
    0.9557467261317436,
    0.6952598398323256,
    0.3662420901697574,
    0.7408050620013817,
    0.033884161635479915,
]
SEEDS = st.integers(-(2**63), 2**63 - 1)


@given(seed=SEEDS, position=st.integers(0, 2**31))
def test_a_number_is_in_the_unit_interval_and_a_pure_function(seed: int, position: int) -> None:
    number = uniform(seed, position)
    assert 0.0 <= number < 1.0
    assert number == uniform(seed, position)
    assert number * 2**53 == int(number * 2**53)


def test_the_numbers_never_change() -> None:
    """Streams that go on elsewhere, and recorded answers, depend on these very values."""
    assert [uniform(seed, k) for seed in (0, 42, -1) for k in (0, 1, 1000)] == RECORDED


def test_they_are_spread_evenly_along_positions_and_along_seeds() -> None:
    for numbers in (
        [uniform(7, position) for position in range(20_000)],
        [uniform(seed, 7) for seed in range(20_000)],
    ):
        assert abs(statistics.fmean(numbers) - 0.5) < 0.01
        counts = [0] * 20
        for number in numbers:
            counts[int(number * 20)] += 1
        chi_square = sum((count - 1000) ** 2 / 1000 for count in counts)
        assert chi_square < 43.8  # 19 degrees of freedom, p = 0.001
        assert len(set(numbers)) == len(numbers)


def test_neighbours_are_unrelated() -> None:
    for other in (lambda k: uniform(1, k + 1), lambda k: uniform(2, k)):
        first = [uniform(1, k) for k in range(5000)]
        assert abs(statistics.correlation(first, [other(k) for k in range(5000)])) < 0.05


@given(seed=SEEDS)
def test_each_of_several_answers_has_a_seed_of_its_own(seed: int) -> None:
    seeds = [derive_seed(seed, index) for index in range(128)]
    assert seeds[0] == seed
    assert len(set(seeds)) == 128
    assert all(0 <= derived < 2**63 for derived in seeds[1:])
