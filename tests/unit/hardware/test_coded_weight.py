"""Codes, tables and shared scales, against the same in a few plain lines."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unisono.core import WeightFormat
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.weights import held_weight
from unisono.hardware.weights.coded_weight import (
    CodedWeight,
    float8_table,
    pack_nibbles,
    unpack_nibbles,
)
from unisono.hardware.weights.held_weight import CodedFormat
from unisono.hardware.weights.quantized import quantize
from unisono.hardware.weights.reordered_weight import ReorderedWeight
from unisono.hardware.weights.stacked_weight import StackedWeight

FORMAT = CodedFormat("test", 8.0)
SHAPES: dict[str, dict[str, Any]] = {
    "blocks": {"shape": (24, 40), "block": (8, 10)},
    "blocks with edges": {"shape": (21, 37), "block": (8, 10)},
    "rows": {"shape": (21, 37), "block": (1, 37)},
    "whole": {"shape": (21, 37), "block": (21, 37)},
    "zeros": {"shape": (21, 37), "block": (1, 5), "zeros": True},
    "four bits": {"shape": (21, 38), "block": (1, 5), "bits": 4, "zeros": True},
    "four bits, odd": {"shape": (21, 37), "block": (4, 5), "bits": 4},
    "any order": {"shape": (21, 37), "block": (1, 5), "bits": 4, "zeros": True, "order": True},
}


def random_weight(
    *, shape: tuple[int, int], block: tuple[int, int], bits: int = 8, zeros: bool = False,
    order: bool = False,
) -> tuple[CodedWeight, torch.Tensor]:  # fmt: skip
    """A weight and its values."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 1 << bits, shape, generator=generator, dtype=torch.uint8)
    table = torch.randn(1 << bits, generator=generator)
    count = (-(-shape[0] // block[0]), -(-shape[1] // block[1]))
    scales = torch.rand(count, generator=generator)
    zero = torch.randint(0, 16, count, generator=generator, dtype=torch.uint8)
    of_row = torch.arange(shape[0]) // block[0]
    of_column = torch.arange(shape[1]) // block[1]
    if order:
        of_column = of_column[torch.randperm(shape[1], generator=generator)]
    values = table[codes.long()]
    if zeros:
        values = values - zero[of_row][:, of_column].float()
    values = values * scales[of_row][:, of_column]
    weight = CodedWeight(
        format=FORMAT,
        shape=shape,
        codes=pack_nibbles(codes) if bits == 4 else codes,
        table=table,
        scales=scales,
        zeros=zero if zeros else None,
        block=block,
        groups=of_column.int() if order else None,
    )
    return weight, values


@pytest.mark.parametrize("case", SHAPES)
def test_values(case: str) -> None:
    weight, values = random_weight(**SHAPES[case])
    assert torch.equal(weight.dequantize(), values)
    assert torch.equal(weight.rows(3, 20, torch.bfloat16), values[3:20].bfloat16())


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize(("start", "length"), [(0, 8), (8, 13), (3, 11), (9, 1), (20, 1)])
@pytest.mark.parametrize("dim", [0, 1])
def test_parts(case: str, dim: int, start: int, length: int) -> None:
    weight, values = random_weight(**SHAPES[case])
    part = weight.narrow(dim, start, length)
    expected = values.narrow(dim, start, length)
    assert part.shape == tuple(expected.shape)
    assert torch.equal(part.dequantize(), expected)
    assert torch.equal(part.to(torch.device("cpu")).dequantize(), expected)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_table_says_what_the_dtype_says(dtype: torch.dtype) -> None:
    codes = torch.arange(256).to(torch.uint8)
    expected = codes.view(dtype).float()
    assert torch.equal(float8_table(dtype).nan_to_num(7e7), expected.nan_to_num(7e7))


def test_nibbles() -> None:
    codes = torch.tensor([[1, 2, 15], [4, 0, 7]], dtype=torch.uint8)
    assert pack_nibbles(codes).tolist() == [[0x21, 0x0F], [0x04, 0x07]]
    assert unpack_nibbles(pack_nibbles(codes))[:, :3].tolist() == codes.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_in_slices(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, values = random_weight(**SHAPES["zeros"])
    x = torch.randn(2, 3, 37, generator=torch.Generator().manual_seed(1)).to(dtype)
    bias = torch.randn(21, generator=torch.Generator().manual_seed(2)).to(dtype)
    ops = PortableOps()
    whole = ops.linear(x, weight, bias)
    expected = torch.nn.functional.linear(x, values.to(dtype), bias)
    assert torch.equal(whole, expected)
    monkeypatch.setattr(held_weight, "_VALUES_AT_ONCE", 4 * 37)
    assert len(weight.slices()) == 6
    torch.testing.assert_close(ops.linear(x, weight, bias), expected)
    torch.testing.assert_close(ops.linear(x, weight), expected - bias, rtol=0.02, atol=0.1)
    assert torch.equal(weight.dequantize(), values)


def test_parts_of_several_formats() -> None:
    coded, values = random_weight(shape=(21, 64), block=(8, 16))
    format = WeightFormat.parse("int8")
    assert format is not None
    levels = quantize(torch.randn(7, 64, generator=torch.Generator().manual_seed(1)), format)
    ops = PortableOps()
    stacked = ops.prepare_quantized(StackedWeight((coded, levels, coded)))
    assert stacked.shape == (49, 64)
    assert stacked.num_bytes == 2 * coded.num_bytes + levels.num_bytes
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(2))
    bias = torch.randn(49, generator=torch.Generator().manual_seed(3))
    expected = torch.cat([values, levels.dequantize(), values])
    torch.testing.assert_close(
        ops.linear(x, stacked, bias), torch.nn.functional.linear(x, expected, bias)
    )


def test_columns_in_another_order() -> None:
    format = WeightFormat.parse("int4")
    assert format is not None
    levels = quantize(torch.randn(7, 64, generator=torch.Generator().manual_seed(1)), format)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(2))
    values = torch.empty(7, 64)
    values[:, order] = levels.dequantize()
    ops = PortableOps()
    reordered = ops.prepare_quantized(ReorderedWeight(order, levels))
    assert reordered.shape == (7, 64)
    assert reordered.num_bytes == levels.num_bytes + 8 * 64
    assert torch.equal(reordered.dequantize(), values)
    x = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(ops.linear(x, reordered), torch.nn.functional.linear(x, values))
