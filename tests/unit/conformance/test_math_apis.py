"""Bounds of functions: those of the interface that a hardware names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from unisono.conformance.expected import plain as expected
from unisono.conformance.expected.comparing import Mismatch, compare
from unisono.conformance.expected.math_apis import (
    absolute_error,
    function_error,
    math_api,
    use_math_api,
)
from unisono.hardware import Facts
from unisono.hardware.math_precision import MATH_APIS

ULP = 2.0**-23


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    use_math_api(None)


def test_without_a_name_opencl_is_demanded() -> None:
    use_math_api(None)
    assert math_api() == "opencl"
    assert function_error("exp") == 3 * ULP
    assert absolute_error("exp") == 0.0


def test_vulkan_lets_exp_err_by_its_argument() -> None:
    use_math_api("vulkan")
    at = torch.tensor([0.0, 1.0, -10.0, 50.0])
    assert (function_error("exp", at) / ULP).tolist() == [3.0, 5.0, 23.0, 103.0]
    assert function_error("exp") >= float(function_error("exp", at).max())
    assert absolute_error("sin") == 2.0**-11


@pytest.mark.parametrize("name", MATH_APIS)
def test_every_interface_bounds_every_function(name: str) -> None:
    use_math_api(name)
    for function in ("exp", "log", "sin", "cos", "tanh", "rsqrt", "sqrt", "divide"):
        assert 0 < max(function_error(function), absolute_error(function)) < 1e-3


def off(values: torch.Tensor, ulps: float) -> torch.Tensor:
    return (values * (1 + ulps * ULP)).float()


def test_what_one_interface_forgives_another_does_not() -> None:
    """silu with an exp that is off by 40 ulps, at an argument of -30."""
    x = torch.tensor([[-30.0, 1.0]])
    exact = torch.nn.functional.silu(x[:, :1].double())
    use_math_api("vulkan")
    compare(off(exact, 40), expected.silu_mul(x))
    with pytest.raises(Mismatch):
        compare(off(exact, 400), expected.silu_mul(x))
    use_math_api("opencl")
    with pytest.raises(Mismatch):
        compare(off(exact, 40), expected.silu_mul(x))


def test_softmax_carries_the_error_of_the_terms_that_matter() -> None:
    """Terms far below the largest may be off by more, the sum hardly."""
    x = torch.tensor([[0.0, -40.0]])
    exact = torch.softmax(x.double(), -1)
    use_math_api("vulkan")
    want = expected.softmax(x)
    assert float(want.bound[0, 0]) < 20 * ULP
    compare((exact * torch.tensor([1.0, 1 + 60 * ULP])).float(), want)


def test_facts_name_a_known_one() -> None:
    assert Facts(name="x", device_type="x", math_api="vulkan").math_api == "vulkan"
    with pytest.raises(ValueError, match="unknown math_api metal; known: opencl"):
        Facts(name="x", device_type="x", math_api="metal")
