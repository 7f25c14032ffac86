"""A rank's part of a weight has the values of that part of the whole, in whichever form it is."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from unisono.core import WeightFormat
from unisono.core.errors import ConfigError
from unisono.core.ggml import GgmlType
from unisono.hardware.weights.block_weight import BlockWeight
from unisono.hardware.weights.coded_weight import CodedWeight
from unisono.hardware.weights.held_weight import CodedFormat, HeldWeight, NumberWeight
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.quantized import quantize
from unisono.hardware.weights.reordered_weight import ReorderedWeight
from unisono.hardware.weights.stacked_weight import StackedWeight, join
from unisono.models.cut import Cut

ROWS, COLUMNS = 24, 128
SHAPE = ROWS, COLUMNS
CPU = torch.device("cpu")


def numbers(rows: int = ROWS) -> Tensor:
    return torch.randn(rows, COLUMNS, generator=torch.Generator().manual_seed(rows))


def levels(text: str, rows: int = ROWS) -> LevelWeight:
    format = WeightFormat.parse(text)
    assert format is not None
    return quantize(numbers(rows), format)


def codes(*, block: tuple[int, int], bits: int = 8) -> CodedWeight:
    generator = torch.Generator().manual_seed(1)
    return CodedWeight(
        format=CodedFormat("test", 8.0),
        shape=SHAPE,
        codes=torch.randint(
            0, 256, (ROWS, COLUMNS * bits // 8), generator=generator, dtype=torch.uint8
        ),
        table=torch.randn(1 << bits, generator=generator),
        scales=torch.rand(-(-ROWS // block[0]), -(-COLUMNS // block[1]), generator=generator),
        block=block,
    )


def blocks() -> BlockWeight:
    data = gguf.quants.quantize(numbers().numpy(), gguf.GGMLQuantizationType.Q8_0)
    return BlockWeight(
        GgmlType("Q8_0", 32, 34), SHAPE, torch.from_numpy(np.ascontiguousarray(data))
    )


def by_row() -> LevelWeight:
    one = levels("int8-g32")
    return LevelWeight(one.format, SHAPE, one.levels, one.scales[:, :1].expand(-1, 4), None)


FORMS: dict[str, Any] = {
    "numbers": lambda: NumberWeight(numbers()),
    "levels": lambda: levels("int4"),
    "levels-with-zeros": lambda: levels("int4-asym"),
    "levels-by-row": by_row,
    "codes": lambda: codes(block=(1, 32)),
    "codes-in-tall-blocks": lambda: codes(block=(10, 20)),
    "codes-of-4-bits": lambda: codes(block=(1, 16), bits=4),
    "blocks": blocks,
    "reordered": lambda: ReorderedWeight(torch.arange(COLUMNS).flip(0), levels("int4-asym")),
    "stacked": lambda: StackedWeight((levels("int4", 10), NumberWeight(numbers(14)))),
}
CUTS = {
    "rows": Cut(0, 8, 8, ROWS),
    "columns": Cut(1, 64, 32, COLUMNS),
    "stacked-rows": Cut(0, 12, 12, ROWS, stacked=(4, 2, 6)),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("form", FORMS)
def test_a_part_has_the_values_of_that_part(form: str, cut: Cut) -> None:
    weight: HeldWeight = FORMS[form]()
    part = cut.of_held(weight, "w").to(CPU)
    expected = cut.of(weight.dequantize())
    assert part.shape == tuple(expected.shape)
    assert torch.equal(part.dequantize(), expected)


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_ranks_are_the_whole(form: str) -> None:
    weight: HeldWeight = FORMS[form]()
    parts = [Cut(0, at, 8, ROWS).of_held(weight, "w") for at in (0, 8, 16)]
    assert torch.equal(join(parts).dequantize(), weight.dequantize())


def test_rows_of_several_matrices_in_one_tensor() -> None:
    """Each of them is divided by itself."""
    tensor = torch.arange(12)
    cuts = [Cut(0, at, 6, 12, stacked=(2, 1, 3)) for at in (0, 6)]
    assert cuts[0].of(tensor).tolist() == [0, 1, 4, 6, 7, 8]
    assert cuts[1].of(tensor).tolist() == [2, 3, 5, 9, 10, 11]


@pytest.mark.parametrize(
    ("form", "message"),
    [("levels", "groups of 32"), ("blocks", "blocks of 32"), ("stacked", "groups of 32")],
)
def test_a_unit_cannot_be_divided(form: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"w has {message} inputs; 8 ranks.*--tp 4"):
        Cut(1, 16, 16, COLUMNS).of_held(FORMS[form](), "w")


@pytest.mark.parametrize(
    "form", ["numbers", "levels-by-row", "codes", "codes-of-4-bits", "reordered"]
)
def test_other_forms_can_be_divided_anywhere(form: str) -> None:
    weight: HeldWeight = FORMS[form]()
    cut = Cut(1, 42, 14, COLUMNS)
    assert torch.equal(cut.of_held(weight, "w").to(CPU).dequantize(), cut.of(weight.dequantize()))
