"""The other forms of compressed-tensors, written and dequantised by the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme
from torch import Tensor

from tests.passes import logits_of_parts
from tests.stored_folders import (
    PROMPT,
    Writer,
    assert_close,
    change_tensors,
    ours,
    theirs,
    write_folder,
)
from unisono.core.errors import CheckpointError
from unisono.hardware import find_hardware
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import RawConfig, load_model
from unisono.models.checkpoint.formats.stored_format import find_stored_format

CPU = torch.device("cpu")
NAME = "model.layers.0.mlp.up_proj.weight"
FLOAT8: dict[str, Any] = {"num_bits": 8, "type": "float"}
FLOAT4: dict[str, Any] = {"num_bits": 4, "type": "float", "strategy": "tensor_group"}
TOKENS = {"num_bits": 8, "strategy": "token", "dynamic": True}
BLOCKS = {**FLOAT8, "strategy": "block", "block_structure": [40, 24]}

CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "int8 by row": ("int-quantized", {"num_bits": 8, "strategy": "channel"}, "int8-g128"),
    "int8 whole": ("int-quantized", {"num_bits": 8, "strategy": "tensor"}, "int8-g128"),
    "int8 in groups": (
        "naive-quantized",
        {"num_bits": 8, "strategy": "group", "group_size": 32},
        "int8-g32",
    ),
    "int8 with zeros": (
        "int-quantized",
        {"num_bits": 8, "strategy": "channel", "symmetric": False},
        "int8-asym",
    ),
    "int8 packed, with zeros": (
        "pack-quantized",
        {"num_bits": 8, "strategy": "group", "group_size": 32, "symmetric": False},
        "int8-asym-g32",
    ),
    "int4 in groups of 16": (
        "pack-quantized",
        {"num_bits": 4, "strategy": "group", "group_size": 16, "symmetric": False},
        "int4-asym-g16",
    ),
    "float8 whole": ("float-quantized", {**FLOAT8, "strategy": "tensor"}, "fp8"),
    "float8 by row": ("float-quantized", {**FLOAT8, "strategy": "channel"}, "fp8"),
    "float8 in blocks": ("float-quantized", BLOCKS, "fp8-40x24"),
    "float8 in groups": (
        "naive-quantized",
        {**FLOAT8, "strategy": "group", "group_size": 32},
        "fp8-1x32",
    ),
    "mxfp8": (
        "mxfp8-quantized",
        {**FLOAT8, "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"},
        "fp8-1x32",
    ),
    "mxfp4": (
        "mxfp4-pack-quantized",
        {**FLOAT4, "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"},
        "mxfp4",
    ),
    "nvfp4": (
        "nvfp4-pack-quantized",
        {**FLOAT4, "group_size": 16, "scale_dtype": "torch.float8_e4m3fn"},
        "nvfp4",
    ),
}


def config(form: str, weights: dict[str, Any]) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": TOKENS, "format": form}
    method = {"quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"]}
    cache = {"num_bits": 8, "type": "float", "strategy": "tensor"}
    return {**method, "config_groups": {"group_0": group}, "kv_cache_scheme": cache}


def blocks_of(weight: Tensor, weights: dict[str, Any]) -> list[list[Tensor]]:
    rows, columns = weight.shape
    tall, wide = {
        "tensor": (rows, columns),
        "channel": (1, columns),
        "block": weights.get("block_structure"),
    }.get(weights["strategy"]) or (1, weights["group_size"])
    return [list(band.split(wide, 1)) for band in weight.split(tall)]


def scales_of(weight: Tensor, form: str, weights: dict[str, Any]) -> dict[str, Tensor]:
    """Scales, and zeros where there are any, from the largest entry or the range of each block."""
    blocks = blocks_of(weight, weights)
    if not weights.get("symmetric", True):
        high = torch.tensor([[float(b.max().clamp(min=0)) for b in band] for band in blocks])
        low = torch.tensor([[float(b.min().clamp(max=0)) for b in band] for band in blocks])
        levels, least = 2 ** weights["num_bits"] - 1, -(2 ** (weights["num_bits"] - 1))
        scale = (high - low) / levels
        return {
            "weight_scale": scale,
            "weight_zero_point": (-low / scale).round().add(least).to(torch.int8),
        }
    largest = torch.tensor([[float(b.abs().max()) for b in band] for band in blocks])
    top = 127 if weights.get("type") != "float" else 448 if weights["num_bits"] == 8 else 6
    if form.startswith("nvfp4"):
        whole = 448 * 6 / weight.abs().max()
        scale = (largest / 6 * whole).to(torch.float8_e4m3fn).float()
        return {"weight_scale": scale, "weight_global_scale": whole.reshape(1)}
    if form.startswith("mx"):
        return {"weight_scale": 2.0 ** (largest / top).log2().ceil()}
    scale = largest / top
    return {"weight_scale": scale.reshape(1) if weights["strategy"] == "tensor" else scale}


def by_library(form: str, weights: dict[str, Any]) -> Writer:
    group = {"targets": ["Linear"], "weights": weights, "format": form}
    scheme = QuantizationScheme.model_validate(group)
    compressor = BaseCompressor.get_value_from_registry(form)

    def writer(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        state = {"weight": weight, **scales_of(weight, form, weights)}
        made = compressor.compress(state, scheme)
        values = compressor.decompress(made, scheme)["weight"].detach()
        return made, values.float()

    return writer


@pytest.mark.parametrize("case", CASES)
def test_logits(case: str, tmp_path: Path) -> None:
    form, weights, held = CASES[case]
    size = {"intermediate_size": 128}
    model = write_folder(tmp_path, config(form, weights), by_library(form, weights), **size)
    assert load_model(tmp_path, CpuHardware()).weight_format == held
    found, expected = ours(tmp_path), theirs(model)
    if held in ("mxfp4", "nvfp4"):
        # The library rounds these values to bfloat16.
        assert (found - expected).abs().max() <= 0.02 * expected.abs().max()
    else:
        assert_close(found, expected)


@pytest.mark.parametrize("case", CASES)
def test_values_bit_for_bit(case: str) -> None:
    form, weights, _ = CASES[case]
    weight = torch.randn(96, 64, generator=torch.Generator().manual_seed(0))
    weight[:, 5] *= 1e-3
    made, values = by_library(form, weights)(weight)
    reader = find_stored_format(RawConfig({"quantization_config": config(form, weights)}))
    assert reader is not None
    held = reader.unpack(NAME, (96, 64), made).to(CPU)
    dtype = torch.bfloat16 if form.startswith(("mx", "nvfp4")) else torch.float32
    assert torch.equal(held.dequantize(dtype), values.to(dtype))
    assert (values - weight).norm() < 0.2 * weight.norm()


def ordered(bits: int, symmetric: bool) -> Writer:
    """Groups of 32 inputs in any order. The library reads these up to version 0.12: levels times
    the scale of their group, ``quantization/lifecycle/forward.py``."""

    def writer(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        generator = torch.Generator().manual_seed(weight.shape[1])
        order = torch.randperm(weight.shape[1], generator=generator)
        weights = {"num_bits": bits, "strategy": "group", "group_size": 32, "symmetric": symmetric}
        made, values = by_library("pack-quantized", weights)(weight[:, order])
        groups = torch.empty_like(order)
        groups[order] = torch.arange(len(order)) // 32
        packed, back = made["weight_packed"], torch.argsort(order)
        octets = packed.view(torch.uint8)
        levels = octets if bits == 8 else torch.stack((octets & 15, octets >> 4), -1).flatten(1)
        levels = levels[:, back].contiguous()
        if bits == 4:
            levels = levels[:, 0::2] | levels[:, 1::2] << 4
        pieces = {**made, "weight_packed": levels.contiguous().view(torch.int32)}
        return {**pieces, "weight_g_idx": groups.int()}, values[:, back]

    return writer


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_inputs_in_another_order(bits: int, symmetric: bool, tmp_path: Path) -> None:
    weights = {"num_bits": bits, "strategy": "group", "group_size": 32, "symmetric": symmetric}
    stated = config("pack-quantized", {**weights, "actorder": "group"})
    model = write_folder(tmp_path / "model", stated, ordered(bits, symmetric), "llama")
    assert_close(ours(tmp_path / "model"), theirs(model))
    parts = logits_of_parts(tmp_path / "model", CpuHardware(), tmp_path / "meeting", 2, PROMPT)
    assert_close(parts[0], theirs(model))


@pytest.mark.parametrize("case", ["float8 in blocks", "float8 by row", "int8 with zeros", "mxfp4"])
def test_in_two_parts(case: str, tmp_path: Path) -> None:
    form, weights, _ = CASES[case]
    write_folder(tmp_path / "model", config(form, weights), by_library(form, weights), "llama")
    parts = logits_of_parts(tmp_path / "model", CpuHardware(), tmp_path / "meeting", 2, PROMPT)
    assert_close(parts[0], ours(tmp_path / "model"))


@pytest.mark.parametrize(
    ("case", "change", "words"),
    [
        ("float8 by row", lambda t: t.pop(f"{NAME}_scale"), "F8_E4M3, and has no scales"),
        ("int8 by row", lambda t: t.pop(f"{NAME}_scale"), "I8, and has no scales"),
        ("int8 with zeros", lambda t: t.pop(f"{NAME}_zero_point"), "does not state"),
        ("int8 by row", lambda t: t[f"{NAME}_scale"].fill_(float("inf")), "no numbers"),
        ("mxfp4", lambda t: t[f"{NAME}_scale"].fill_(255), "no numbers"),
        ("mxfp4", lambda t: t.update({f"{NAME}_scale": torch.ones(128, 2)}), "stored as float32"),
        ("nvfp4", lambda t: t[f"{NAME}_global_scale"].zero_(), "no numbers"),
        ("int8 by row", lambda t: t.update({NAME: t[NAME].view(torch.uint8)}), "stored as uint8"),
        (
            "float8 by row",
            lambda t: t.update({NAME: t[NAME][1:].contiguous()}),
            r"weight \[127, 64\].*does not state",
        ),
    ],
)
def test_tensors_that_are_no_such_weight(
    case: str, change: Any, words: str, tmp_path: Path
) -> None:
    form, weights, _ = CASES[case]
    size = {"intermediate_size": 128}
    write_folder(tmp_path, config(form, weights), by_library(form, weights), **size)
    change_tensors(tmp_path, change)
    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path, find_hardware("cpu"))
