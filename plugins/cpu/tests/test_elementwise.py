"""Norms, rotation and activation against the reference ops."""

from __future__ import annotations

import pytest
import torch
import unisono_cpu as uc
from torch import Tensor

from unisono.hardware import PortableOps

REFERENCE = PortableOps()
DTYPES = [torch.bfloat16, torch.float32]


def close(out: Tensor, expected: Tensor) -> bool:
    """One rounding of the dtype apart."""
    tolerance = 2e-6 if out.dtype == torch.float32 else 2.0**-7
    return torch.allclose(out.float(), expected.float(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1024), (7, 100), (300, 64)])
def test_add_rms_norm(isa: str, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    x, weight = torch.randn(shape).to(dtype), torch.rand(shape[1])
    out, total = uc.add_rms_norm(x, None, weight, 1e-6)
    assert total is None
    assert close(out, REFERENCE.rms_norm(x.float(), weight, 1e-6))
    residual = torch.randn(shape)
    out, total = uc.add_rms_norm(x, residual, weight, 1e-6)
    assert torch.equal(total, residual + x.float())
    assert close(out, REFERENCE.rms_norm(total, weight, 1e-6))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2), (3, 70), (40, 6144)])
def test_silu_mul(isa: str, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    x = (torch.randn(shape) * 4).to(dtype)
    assert close(uc.silu_mul(x), REFERENCE.silu_mul(x.float()))
    extreme = torch.tensor([[-1e4, -100.0, 0.0, 100.0, 1.0, 1.0, 1.0, 1.0]], dtype=dtype)
    assert close(uc.silu_mul(extreme), REFERENCE.silu_mul(extreme.float()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "half"), [(128, 64), (64, 16), (80, 40), (6, 2)])
@pytest.mark.parametrize("normed", [True, False])
def test_rotary_heads(isa: str, dtype: torch.dtype, size: int, half: int, normed: bool) -> None:
    qkv = torch.randn(9, 8 * size).to(dtype)
    angles = torch.randn(9, half)
    rope = (angles.cos(), angles.sin())
    norms = (torch.rand(size), torch.rand(size), 1e-6) if normed else None
    out = uc.rotary_heads(qkv, 4, 2, rope, norms)
    for ours, theirs in zip(
        out, REFERENCE.rotary_heads(qkv.float(), 4, 2, rope, norms), strict=True
    ):
        assert ours.shape == theirs.shape
        assert close(ours, theirs)


def test_a_row_does_not_depend_on_the_others(isa: str) -> None:
    x, weight = torch.randn(600, 96), torch.rand(96)
    whole, _ = uc.add_rms_norm(x, None, weight, 1e-6)
    assert torch.equal(whole[5:6], uc.add_rms_norm(x[5:6], None, weight, 1e-6)[0])
    assert torch.equal(uc.silu_mul(x)[5:6], uc.silu_mul(x[5:6]))


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="weight"):
        uc.add_rms_norm(torch.zeros(2, 8), None, torch.zeros(7), 1e-6)
    with pytest.raises(ValueError, match="residual"):
        uc.add_rms_norm(torch.zeros(2, 8), torch.zeros(2, 8).bfloat16(), torch.zeros(8), 1e-6)
    with pytest.raises(ValueError, match="halves"):
        uc.silu_mul(torch.zeros(2, 7))
    with pytest.raises(ValueError, match="cos"):
        uc.rotary_heads(torch.zeros(2, 32), 2, 1, (torch.zeros(1, 4), torch.zeros(2, 4)))
