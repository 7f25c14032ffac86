"""The bounds are those of the literature, and tight enough to see what they are for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.expected import bounds
from unisono.conformance.expected import plain as expected
from unisono.conformance.expected.comparing import Mismatch, compare
from unisono.conformance.registry import all_checks, check_names


def test_gamma_and_the_probable_bound() -> None:
    u = 2.0**-24
    assert bounds.gamma(1, u) == pytest.approx(u, rel=1e-6)
    assert bounds.gamma(2**25, u) == math.inf
    assert bounds.sum_error(10) == bounds.gamma(10, u)
    assert bounds.sum_error(10_000) == bounds.probable(10_000, u) < bounds.gamma(10_000, u)
    assert bounds.unit_roundoff(torch.bfloat16) == 2.0**-8
    assert bounds.unit_roundoff(torch.float16) == 2.0**-11


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("k", [1, 64, 1000, 4096])
def test_honest_products_keep_the_bound(dtype: torch.dtype, k: int) -> None:
    for seed in range(5):
        x, w = inputs.normal(7, k, dtype=dtype, seed=seed), inputs.normal(9, k, dtype=dtype)
        in_order = torch.zeros(7, 9)
        for i in range(k):  # the worst order there is
            in_order += x[:, i : i + 1].float() * w[:, i].float()
        assert compare(in_order.to(dtype), expected.linear(x, w)) <= 1.0


def fp16_sums(x: Tensor, w: Tensor, tile: int) -> Tensor:
    """Tiles summed in float32, their sums in float16."""
    total = torch.zeros(x.shape[0], w.shape[0], dtype=torch.float16)
    for at in range(0, x.shape[1], tile):
        part = x[:, at : at + tile].float() @ w[:, at : at + tile].float().T
        total += part.half()
    return total.to(x.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tile", [1, 16, 64])
def test_float16_sums_are_seen(dtype: torch.dtype, tile: int) -> None:
    x, w = (inputs.positive(5, 4096, dtype=dtype, seed=s) for s in (7, 8))
    with pytest.raises(Mismatch):
        compare(fp16_sums(x, w, tile), expected.linear(x, w))


def test_float16_sums_of_float16_are_seen() -> None:
    x, w = (inputs.integers(5, 512, low=-15, high=15, dtype=torch.float16, seed=s) for s in (1, 2))
    with pytest.raises(Mismatch):
        compare(fp16_sums(x * 7, w, 1), expected.linear(x * 7, w))


def test_bfloat16_sums_are_seen() -> None:
    x, w = (inputs.normal(5, 256, dtype=torch.bfloat16, seed=s) for s in (1, 2))
    total = torch.zeros(5, 5, dtype=torch.bfloat16)
    for at in range(0, 256, 64):
        total += x[:, at : at + 64] @ w[:, at : at + 64].T
    with pytest.raises(Mismatch):
        compare(total, expected.linear(x, w))


def ten_bits(x: Tensor) -> Tensor:
    """Cut, or rounded, to the 10 bits of fraction of TF32."""
    return ((x.view(torch.int32) + 0x0FFF) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("k", [64, 512])
def test_products_with_ten_bits_are_seen(k: int) -> None:
    x, w = inputs.normal(8, k, seed=1), inputs.normal(33, k, seed=2)
    with pytest.raises(Mismatch):
        compare(ten_bits(x) @ ten_bits(w).T, expected.linear(x, w))


def test_whole_numbers_leave_no_room_at_all() -> None:
    x = inputs.integers(4, 500, low=-4095, high=4095, seed=1)
    w = inputs.integers(9, 500, low=-7, high=7, seed=2)
    want = expected.linear(x, w)
    assert not want.bound.any()
    assert compare(x @ w.T, want) == 0.0
    with pytest.raises(Mismatch):
        compare(ten_bits(x) @ w.T, want)


def test_softmax_without_the_maximum_and_lost_small_terms_are_seen() -> None:
    x = torch.linspace(0, -80, 321).unsqueeze(0)
    weights = x.exp()
    flushed = torch.where(weights < 2.0**-14, 0.0, weights)
    assert compare(torch.softmax(x, -1), expected.softmax(x)) <= 1.0
    with pytest.raises(Mismatch):
        compare(flushed / flushed.sum(), expected.softmax(x))


def test_rms_norm_with_another_eps_or_16_bit_squares_is_seen() -> None:
    x, w = inputs.normal(3, 128, seed=1), inputs.positive(128)
    want = expected.rms_norm(x, w, 1e-6)
    scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
    with pytest.raises(Mismatch):
        compare(x * scale * w, want)
    scale = torch.rsqrt(x.half().pow(2).float().mean(-1, keepdim=True) + 1e-6)
    with pytest.raises(Mismatch):
        compare(x * scale * w, want)


def test_every_op_of_the_table_has_a_check() -> None:
    from unisono.conformance.checks.ops.table import table_ops
    from unisono.conformance.registry import covered_ops

    assert sorted(check_names()) == sorted(check.name for check in all_checks())
    assert table_ops() <= covered_ops()
    assert {"linear", "attention", "draw", "fuse"} <= table_ops()
