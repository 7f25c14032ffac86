"""The rates that a prefill is compared with."""

from __future__ import annotations

import time

import pytest
import torch
import unisono_cpu as uc
from unisono_cpu.hardware import NativeCpuHardware


@pytest.mark.parametrize("format", sorted(uc.FORMATS))
def test_products_alone_have_a_rate(isa: str, format: str) -> None:
    assert uc.products_per_s(format) > 0


@pytest.mark.parametrize("format", ["int8", "int4", "bf16"])
def test_a_product_of_matrices_is_no_faster(isa: str, format: str) -> None:
    """Both count every operation. On a busy machine either may be disturbed: the best of many."""
    group = None if format == "bf16" else 128
    packed, x = uc.pack(torch.randn(512, 512), format, group), torch.randn(64, 512).bfloat16()
    uc.set_threads(1)
    best = max(_rate(x, packed) for _ in range(10))
    assert best <= 1.2 * max(uc.products_per_s(format) for _ in range(3))


def _rate(x: torch.Tensor, packed: uc.PackedWeight) -> float:
    """Operations per second of one product."""
    began = time.perf_counter()
    uc.linear(x, packed)
    return 2 * x.numel() * packed.shape[0] / (time.perf_counter() - began)


def test_the_rate_belongs_to_the_held_format() -> None:
    hardware = NativeCpuHardware()
    for weights in ("auto", "int4-g32", "int8-g128", "Q4_1", "Q6_K"):
        assert hardware.products_per_s(weights, "bfloat16")
    assert hardware.products_per_s("auto", "float16") is None
    assert hardware.products_per_s("F8_E4M3", "bfloat16") is None
