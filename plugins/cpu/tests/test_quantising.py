"""Levels, scales and zeros against the reference of all hardware, bit for bit."""

from __future__ import annotations

import pytest
import torch
import unisono_cpu as uc
from torch import Tensor

from unisono.core import WeightFormat
from unisono.core.errors import CheckpointError
from unisono.hardware import quantize

FORMATS = [
    ("int8", None),
    *((name, group) for name in ("int8", "int4", "int4z") for group in (32, 64, 128)),
]
SHAPES = [(1, 1), (33, 70), (96, 128), (31, 300), (17, 1000)]


def reference(weight: Tensor, format: str, group: int | None) -> uc.PackedWeight:
    size = group or weight.shape[1]
    quantized = quantize(
        weight,
        WeightFormat(
            bits=8 if format == "int8" else 4, group_size=size, symmetric=format != "int4z"
        ),
    )
    return uc.pack_levels(quantized.levels, quantized.scales, format, group, zeros=quantized.zeros)


def heavy_tailed(shape: tuple[int, int]) -> Tensor:
    return torch.randn(shape) / torch.rand(shape).clamp(min=1e-6)


def with_ties(shape: tuple[int, int]) -> Tensor:
    return torch.randint(-2, 3, shape).float() * 0.37


def with_empty_groups(shape: tuple[int, int]) -> Tensor:
    weight = torch.randn(shape)
    weight[:, : shape[1] // 2] = 0
    weight[::3] = -0.0
    return weight


def one_sided(shape: tuple[int, int]) -> Tensor:
    return torch.randn(shape).abs() * torch.tensor([1.0, -1.0])[torch.arange(shape[0]) % 2, None]


def of_all_sizes(shape: tuple[int, int]) -> Tensor:
    """From below the smallest numbers to the largest, a size a row."""
    return torch.randn(shape).clamp(-2, 2) * torch.logspace(-45, 37.9, shape[0])[:, None]


KINDS = {
    "random": torch.randn,
    "heavy-tailed": heavy_tailed,
    "ties": with_ties,
    "empty groups": with_empty_groups,
    "one-sided": one_sided,
    "constant": lambda shape: torch.full(shape, -0.3),
    "all sizes": of_all_sizes,
}


@pytest.mark.parametrize(("format", "group"), FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_are_those_of_the_reference(
    isa: str, format: str, group: int | None, kind: str
) -> None:
    for shape in SHAPES:
        weight = KINDS[kind](shape)
        packed = uc.pack(weight, format, group)
        assert torch.equal(packed.blob, reference(weight, format, group).blob)


@pytest.mark.parametrize(("format", "group"), FORMATS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_of_half_precision_too(
    isa: str, format: str, group: int | None, dtype: torch.dtype
) -> None:
    weight = torch.randn(70, 200).to(dtype)
    assert torch.equal(uc.pack(weight, format, group).blob, reference(weight, format, group).blob)


@pytest.mark.parametrize(("format", "group"), FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused(
    isa: str, format: str, group: int | None, bad: float
) -> None:
    weight = torch.randn(40, 128)
    weight[37, 99] = bad
    with pytest.raises(CheckpointError, match="not finite"):
        uc.pack(weight, format, group)
