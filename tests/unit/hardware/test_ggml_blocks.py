"""Blocks of ggml against the library that defines them: the same numbers, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.gguf_files import encoded
from unisono.core.ggml import GGML_TYPES, GgmlType
from unisono.hardware import PortableOps
from unisono.hardware.weights.block_weight import BlockWeight, as_levels
from unisono.hardware.weights.ggml_blocks import READABLE_TYPES
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.stacked_weight import StackedWeight

TYPES = {t.name: t for t in GGML_TYPES.values() if t.name in READABLE_TYPES}
SHAPE = (6, 512)


def blocks(name: str, seed: int = 0) -> Any:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=SHAPE).astype(np.float32)
    return encoded(values, name, generator).view(np.uint8)


def weight(name: str, data: Any, dtype: torch.dtype = torch.float32) -> BlockWeight:
    return BlockWeight(TYPES[name], SHAPE, torch.from_numpy(data), dtype)


def bits(values: torch.Tensor) -> torch.Tensor:
    """Not-a-number is one number here: which of its bits are set is a processor's own choice."""
    return torch.where(values.isnan(), torch.nan, values).view(torch.int32)


@pytest.mark.parametrize("name", sorted(TYPES))
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_bytes_mean_what_the_library_says(name: str, seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, 256, blocks(name).shape, dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = torch.from_numpy(quants.dequantize(data, GGMLQuantizationType[name]))
    found = weight(name, data).dequantize()
    assert torch.equal(bits(found), bits(expected))


@pytest.mark.parametrize("name", sorted(TYPES))
def test_parts_of_a_weight(name: str) -> None:
    held = weight(name, blocks(name), torch.bfloat16)
    whole = held.dequantize()
    assert torch.equal(held.rows(2, 5, torch.float32), whole[2:5])
    assert torch.equal(held.narrow(0, 1, 4).dequantize(), whole[1:5])
    assert torch.equal(held.narrow(1, 256, 256).dequantize(), whole[:, 256:])
    ids = torch.tensor([5, 0, 0, 3])
    assert torch.equal(PortableOps().embedding(ids, held), whole[ids].bfloat16())
    assert held.num_bytes == held.data.nbytes


@pytest.mark.parametrize("name", sorted(TYPES))
def test_products(name: str) -> None:
    """In slices, the last of which is smaller."""
    held = weight(name, blocks(name))
    ops, x, bias = PortableOps(), torch.randn(3, 512), torch.randn(6)
    expected = x @ held.dequantize().T + bias
    torch.testing.assert_close(ops.linear(x, held, bias), expected)
    both = StackedWeight((held, held))
    twice = ops.linear(x, ops.prepare_quantized(both), torch.cat((bias, bias)))
    torch.testing.assert_close(twice, torch.cat((expected, expected), -1))


INTEGERS = {
    **dict.fromkeys(("Q4_0", "Q4_1", "Q4_K"), 4),
    **dict.fromkeys(("Q5_0", "Q5_1", "Q5_K", "Q8_0", "IQ4_NL", "IQ4_XS", "MXFP4"), 8),
    **dict.fromkeys(("Q2_K", "Q3_K", "Q6_K"), 8),
}
SMALL_GROUPS = ("Q2_K", "Q3_K", "Q6_K")


def level_values(levels: LevelWeight, shifts: Tensor | None) -> Tensor:
    if shifts is None:
        return levels.dequantize()
    by_column = [x.repeat_interleave(levels.format.group_size, 1) for x in (levels.scales, shifts)]
    return levels.levels.float() * by_column[0] + by_column[1]


@pytest.mark.parametrize("name", sorted(TYPES))
def test_levels(name: str) -> None:
    held = weight(name, blocks(name))
    found = as_levels(held)
    assert (found is not None) == (name in INTEGERS)
    if found is not None:
        levels, shifts = found
        assert levels.format.bits == INTEGERS[name]
        assert levels.format.group_size == (16 if name in SMALL_GROUPS else 32)
        assert torch.equal(level_values(levels, shifts), held.dequantize())


def test_levels_of_several_types() -> None:
    for names, group, shifted in (
        (("Q4_0", "Q4_K", "Q5_0"), 32, True),
        (("Q4_K", "Q6_K"), 16, True),
        (("Q4_0", "Q6_K", "Q8_0"), 16, False),
    ):
        parts = tuple(weight(name, blocks(name)) for name in names)
        found = as_levels(StackedWeight(parts))
        assert found is not None
        levels, shifts = found
        assert (levels.format.bits, levels.format.group_size) == (8, group)
        assert (shifts is not None) == shifted
        expected = torch.cat([part.dequantize() for part in parts])
        torch.testing.assert_close(level_values(levels, shifts), expected, rtol=1e-6, atol=1e-6)
    plain = BlockWeight(GgmlType("F16", 1, 2), (6, 512), torch.zeros(6, 1024, dtype=torch.uint8))
    assert as_levels(StackedWeight((*parts, plain))) is None


def test_rows_that_are_no_whole_groups_have_no_levels() -> None:
    assert as_levels(BlockWeight(GgmlType("F32", 1, 4), (1, 5), torch.zeros(1, 20))) is None
