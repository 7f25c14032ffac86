"""Results against what they should be, in numbers and in words."""

from __future__ import annotations

import math

import pytest
import torch

from unisono.conformance.expected.comparing import Expected, Mismatch, compare, exactly


def within(values: torch.Tensor, bound: float) -> Expected:
    return Expected(values.double(), torch.full(values.shape, bound, dtype=torch.float64))


def test_the_share_of_the_bound_is_told() -> None:
    assert compare(torch.tensor([1.0, 2.5]), within(torch.tensor([1.0, 2.0]), 1.0)) == 0.5


def test_where_it_is_wrong_is_told() -> None:
    got, want = torch.zeros(5, 7), torch.zeros(5, 7)
    want[4, 2:] = 1.0
    with pytest.raises(Mismatch, match="5 of 35 entries are wrong, at index 4 of 5, the last,"):
        compare(got, within(want, 0.1))


def test_nan_counts_only_where_it_should_be() -> None:
    nan = torch.tensor([1.0, math.nan])
    assert compare(nan, within(nan, 0.0)) == 0.0
    for got, want in ((nan, torch.tensor([1.0, 2.0])), (torch.tensor([1.0, 0.0]), nan)):
        with pytest.raises(Mismatch):
            compare(got, within(want, 10.0))


def test_infinity_is_right_where_the_number_is_too_large() -> None:
    got = torch.tensor([math.inf], dtype=torch.float16)
    assert compare(got, within(torch.tensor([70_000.0]), 1.0)) == 0.0
    with pytest.raises(Mismatch):
        compare(got, within(torch.tensor([-70_000.0]), 1.0))
    with pytest.raises(Mismatch):
        compare(got, within(torch.tensor([60_000.0]), 1.0))


def test_whole_numbers_are_compared_as_such() -> None:
    big = torch.tensor([2**53 + 1])
    assert compare(big, exactly(big)) == 0.0
    with pytest.raises(Mismatch):
        compare(big - 1, exactly(big))
