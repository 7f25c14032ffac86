"""The form pack-quantized: bit by bit, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from unisono.core import WeightFormat
from unisono.core.errors import CheckpointError, ConfigError, UnsupportedModelError
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.quantized import quantize
from unisono.hardware.weights.stacked_weight import join
from unisono.models import RawConfig
from unisono.models.checkpoint.formats.compressed_tensors import CompressedTensors
from unisono.models.checkpoint.formats.grouped_levels import LevelGroups
from unisono.models.checkpoint.formats.pack_quantized import pack, quantization_config
from unisono.models.checkpoint.formats.stored_format import find_stored_format
from unisono.models.cut import Cut

FORMATS = ["int8", "int8-g32", "int4", "int4-g64", "int4-g128", "int4-asym", "int4-asym-g64"]
NAME = "model.layers.0.mlp.up_proj.weight"


def parsed(text: str) -> WeightFormat:
    format = WeightFormat.parse(text)
    assert format is not None
    return format


def weight(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def stored(format: WeightFormat) -> CompressedTensors:
    found = find_stored_format(
        RawConfig({"quantization_config": quantization_config(format, None)})
    )
    assert isinstance(found, CompressedTensors)
    return found


def signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


def test_four_bits_by_hand() -> None:
    """Input 0 in the lowest bits of word 0, input 8 in those of word 1; zeros so along rows."""
    levels = torch.arange(32, dtype=torch.uint8).remainder(16).unsqueeze(0).repeat(9, 1)
    zeros = torch.tensor([[1], [2], [3], [4], [5], [6], [7], [8], [15]], dtype=torch.uint8)
    scales = torch.full((9, 1), -0.5)
    tensors = pack(LevelWeight(parsed("int4-asym"), (9, 32), levels, scales, zeros))
    low, high = 0x76543210, signed(0xFEDCBA98)
    assert tensors["weight_packed"].tolist() == [[low, high, low, high]] * 9
    assert tensors["weight_packed"].dtype == torch.int32
    assert tensors["weight_zero_point"].tolist() == [[signed(0x87654321)], [0x0000000F]]
    assert tensors["weight_scale"].tolist() == [[-0.5]] * 9
    assert tensors["weight_scale"].dtype == torch.bfloat16
    assert tensors["weight_shape"].tolist() == [9, 32]
    assert tensors["weight_shape"].dtype == torch.int64


def test_eight_bits_by_hand() -> None:
    levels = torch.zeros(1, 32, dtype=torch.uint8)
    levels[0, :5] = torch.tensor([1, 2, 0x80, 255, 7])
    tensors = pack(LevelWeight(parsed("int8"), (1, 32), levels, torch.ones(1, 1), None))
    assert tensors["weight_packed"].tolist() == [[signed(0xFF800201), 7, 0, 0, 0, 0, 0, 0]]
    assert "weight_zero_point" not in tensors


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("rows", [1, 7, 24])
def test_read_back_it_is_the_same(text: str, rows: int) -> None:
    format = parsed(text)
    made = quantize(weight(rows, 256), format)
    tensors = pack(made)
    reader = stored(format)
    shapes = {piece: tuple(tensor.shape) for piece, tensor in tensors.items()}
    assert reader.format_of(NAME, (rows, 256), shapes) == format
    held = reader.unpack(NAME, (rows, 256), tensors)
    assert held.format == format
    assert torch.equal(held.levels, made.levels)
    assert torch.equal(held.scales, made.scales)
    assert (held.zeros is None) == (made.zeros is None)
    assert torch.equal(held.dequantize(), made.dequantize())


@pytest.mark.parametrize("columns", [96, 128, 300])
def test_a_scale_of_a_row_is_that_of_each_of_its_groups(columns: int) -> None:
    """One scale a row, as the strategy ``channel`` has it: a rank's inputs may be any."""
    generator = torch.Generator().manual_seed(1)
    levels = torch.randint(0, 256, (5, columns), generator=generator, dtype=torch.uint8)
    scales = torch.rand(5, 1, generator=generator)
    one = LevelGroups(bits=8, symmetric=True, group_size=None).store(NAME, levels, scales, None)
    expected = (levels.float() - 128) * scales
    assert torch.equal(one.to(torch.device("cpu")).dequantize(), expected)
    half = Cut(1, columns // 2, columns // 2, columns).of_held(one, NAME)
    assert torch.equal(half.dequantize(), expected[:, columns // 2 : columns // 2 * 2])


@pytest.mark.parametrize("text", ["int4", "int4-asym-g64", "int8-g128"])
def test_parts_of_ranks_make_up_the_whole(text: str) -> None:
    format = parsed(text)
    made = quantize(weight(12, 256), format)
    one = stored(format).unpack(NAME, (12, 256), pack(made))
    rows = [Cut(0, at, 6, 12).of_held(one, NAME) for at in (0, 6)]
    assert torch.equal(join(rows).dequantize(), made.dequantize())
    columns = [Cut(1, at, 128, 256).of_held(one, NAME) for at in (0, 128)]
    assert torch.equal(torch.cat([c.dequantize() for c in columns], 1), made.dequantize())


def test_a_cut_within_a_group_names_a_number_of_ranks() -> None:
    one = stored(parsed("int4-g128")).unpack(
        NAME, (4, 768), pack(quantize(weight(4, 768), parsed("int4-g128")))
    )
    with pytest.raises(ConfigError, match=r"up_proj.*groups of 128.*4 ranks.*--tp 3"):
        Cut(1, 192, 192, 768).of_held(one, NAME)


# -- what config.json may say -----------------------------------------------------------------


def config(**changes: Any) -> RawConfig:
    """A configuration with one group; changes to its weights, to the group, or to the whole."""
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group"}
    weights = {**weights, "group_size": 128, **changes.pop("weights", {})}
    group = {"targets": ["Linear"], "weights": weights, **changes.pop("group", {})}
    method = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
    whole = {**method, "config_groups": {"group_0": group}, **changes}
    return RawConfig({"quantization_config": whole})


@pytest.mark.parametrize(
    ("weights", "held"),
    [
        ({}, "int4-g128"),
        ({"group_size": 96}, "int4-g32"),
        ({"group_size": 256}, "int4-g128"),
        ({"group_size": 64, "symmetric": False}, "int4-asym-g64"),
        ({"strategy": "channel", "group_size": None, "num_bits": 8}, "int8-g128"),
        ({"strategy": None, "group_size": -1}, "int4-g128"),
        ({"strategy": None, "group_size": 32}, "int4-g32"),
        ({"actorder": "weight", "observer": "mse", "observer_kwargs": {}}, "int4-g128"),
        ({"actorder": "group"}, "int4-g128"),
        ({"actorder": True, "num_bits": 8}, "int8-g128"),
        ({"num_bits": 8, "symmetric": False}, "int8-asym-g128"),
        ({"group_size": 16}, "int4-g16"),
        ({"group_size": 48, "symmetric": False}, "int4-asym-g48"),
    ],
    ids=str,
)
def test_schemes_that_are_read(weights: dict[str, Any], held: str) -> None:
    found = find_stored_format(config(weights=weights))
    assert isinstance(found, CompressedTensors)
    assert [str(form.held((256, 768))) for form in found.forms] == [held]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "float-quantized"}, "4 bits, 'int', as float-quantized"),
        ({"format": "nvfp4-pack-quantized"}, "nvfp4"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config"),
        ({"transform_config": {"config_groups": {}}}, "transform_config"),
        ({"group": {"format": "marlin-24"}}, "marlin-24"),
        ({"weights": {"type": "float", "num_bits": 8}}, "float"),
        ({"weights": {"num_bits": 3}}, "3 bits"),
        ({"weights": {"actorder": "random"}}, "in another order .'random'"),
        ({"weights": {"strategy": "tensor"}}, "one scale for each tensor"),
        ({"weights": {"strategy": "token"}}, "each token"),
        ({"weights": {"strategy": None, "group_size": None}}, "each tensor"),
        ({"weights": {"strategy": "block", "block_structure": [128, 128]}}, "each block"),
        ({"weights": {"dynamic": "local"}}, "dynamic"),
        ({"quant_method": "hqq"}, "hqq.*compressed-tensors"),
        ({"quant_method": "quark"}, "quark"),
        ({"quant_method": "bitsandbytes"}, "bitsandbytes, as .fp4."),
    ],
    ids=str,
)
def test_schemes_that_are_not_read_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        find_stored_format(config(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config_groups": {}}, "config_groups"),
        ({"config_groups": []}, "config_groups must be an object"),
        ({"config_groups": {"W4A16": ["Linear"]}}, "W4A16 must be an object"),
        ({"group": {"weights": None}}, "no config_groups with weights"),
        ({"group": {"weights": [4]}}, "weights must be an object"),
        ({"weights": {"num_bits": "4"}}, "num_bits must be"),
        ({"weights": {"symmetric": "yes"}}, "symmetric must be"),
        ({"weights": {"group_size": 0}}, "group_size must be"),
        ({"weights": {"group_size": 12.5}}, "group_size must be"),
    ],
    ids=str,
)
def test_fields_of_the_wrong_kind(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        find_stored_format(config(**changes))


@pytest.mark.parametrize(
    ("piece", "tensor", "words"),
    [
        ("weight_shape", torch.tensor([4, 128]), r"\[4, 256\].*weight_shape.*\[4, 128\]"),
        ("weight_scale", torch.full((4, 8), float("nan")), "scales that are no numbers"),
        ("weight_scale", torch.full((4, 8), float("inf")), "scales that are no numbers"),
        ("weight_scale", torch.ones(4, 8, dtype=torch.int32), "weight_scale is stored as"),
        ("weight_scale", torch.ones(4, 4), r"weight_scale \[4, 4\]"),
        ("weight_packed", torch.zeros(4, 33, dtype=torch.int32), r"weight_packed \[4, 33\]"),
        ("weight_packed", torch.zeros(4, 32), "weight_packed is stored as"),
        ("weight_zero_point", torch.zeros(1, 8, dtype=torch.int32), "weight_zero_point"),
    ],
)
def test_tensors_that_are_no_such_weight(piece: str, tensor: torch.Tensor, words: str) -> None:
    tensors = {**pack(quantize(weight(4, 256), parsed("int4"))), piece: tensor}
    with pytest.raises(CheckpointError, match=words) as caught:
        stored(parsed("int4")).unpack(NAME, (4, 256), tensors)
    assert re.match(re.escape(NAME), caught.value.message)
