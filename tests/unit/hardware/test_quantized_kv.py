"""Keys and values of 8 bits: the values that are kept, and those at the edges."""

from __future__ import annotations

import math

import pytest
import torch

from unisono.hardware import QuantizedKV
from unisono.hardware.ops.quantized_kv import quantize_heads

KINDS = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}


def values(x: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    kv = QuantizedKV(*quantize_heads(x, kind))
    return kv.from_bytes(kv.as_bytes, kv.scales)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_entry_is_within_half_a_step(kind: torch.dtype, dtype: torch.dtype) -> None:
    x = (torch.randn(50, 3, 64) * torch.logspace(-3, 3, 50).view(-1, 1, 1)).to(dtype)
    largest = x.float().abs().amax(-1, keepdim=True)
    half = largest / 254 if kind == torch.int8 else (x.float().abs() / 16).maximum(largest / 2**18)
    assert ((values(x, kind) - x.float()).abs() <= half * (1 + 1e-5)).all()
    levels, scales = quantize_heads(x, kind)
    assert (levels.float().abs().amax(-1) == KINDS[kind]).all()
    assert scales.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_edges(kind: torch.dtype) -> None:
    x = torch.zeros(6, 4)
    x[1, 2] = 1e-40
    x[2, 1] = 3e38
    x[3] = torch.tensor([1.0, math.nan, 2.0, 3.0])
    x[4] = torch.tensor([1.0, math.inf, 2.0, 3.0])
    x[5] = torch.tensor([-1.0, 1.0, 0.5, 0.0])
    found = values(x, kind)
    assert (found[:2] == 0).all()
    assert torch.allclose(found[2], x[2], rtol=1e-6)
    assert found[3:5].isnan().all()
    assert (found[5, :2] == x[5, :2]).all()
