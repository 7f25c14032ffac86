"""Our folders in the library that defines their form, and its folders in our loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig, PreTrainedModel

from tests.checkpoints import oracle, prompts, save
from tests.passes import logits
from unisono.core import WeightFormat
from unisono.hardware.devices.cpu import CpuHardware
from unisono.hardware.weights.quantized import quantize
from unisono.models import load_model
from unisono.models.checkpoint.quantizing import QuantizePlan

PROMPT = prompts(40)[0]
SHAPE: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
SYMMETRIC = ["int8", "int8-g32", "int4", "int4-g64", "int4-g128"]
FORMATS = [*SYMMETRIC, "int4-asym", "int4-asym-g128"]


def parsed(text: str) -> WeightFormat:
    format = WeightFormat.parse(text)
    assert format is not None
    return format


def unpacked(folder: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All tensors by name, what is quantised unpacked by the library."""
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    groups = QuantizationConfig.model_validate(config).config_groups
    for name in [name for name in tensors if name.endswith(".weight_packed")]:
        module = name.removesuffix(".weight_packed")
        parts = [part for part in tensors if part.startswith(f"{module}.weight_")]
        state = {part.rpartition(".")[2]: tensors.pop(part) for part in parts}
        state["weight_scale"] = state["weight_scale"].to(dtype)
        scheme = groups["group_1" if module == "lm_head" else "group_0"]
        compressor = BaseCompressor.get_value_from_registry("pack-quantized")
        tensors[f"{module}.weight"] = compressor.decompress(state, scheme)["weight"]
    return tensors


def ours(folder: Path) -> torch.Tensor:
    """In float32, by ops that round no activations."""
    hardware = CpuHardware()
    return logits(load_model(folder, hardware, dtype="float32"), hardware, PROMPT)


def theirs(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def quantized(folder: Path, text: str, dtype: torch.dtype, **options: Any) -> Path:
    """A folder of ours; the original lies beside it."""
    plain = save(oracle("qwen3", **SHAPE, **options).to(dtype), folder / "plain")
    QuantizePlan(plain, parsed(text)).write(folder / "out", source="original")
    return folder / "out"


def assert_rounded(folder: Path, text: str, weights: dict[str, Any], *, tied: bool) -> None:
    """Every linear weight is the rounded one of the original, bit for bit; all else as it was."""
    format = parsed(text)
    originals = load_file(folder.parent / "plain" / "model.safetensors")
    assert originals.keys() <= weights.keys()
    for name, original in originals.items():
        expected = original
        if "_proj.weight" in name or (name == "lm_head.weight" and not tied):
            own = format.of_head if "lm_head" in name else format
            expected = quantize(original, own).dequantize(original.dtype)
            assert not torch.equal(expected, original)
        assert torch.equal(weights[name], expected), name


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_library_unpacks_what_we_write(
    text: str, tied: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = quantized(tmp_path, text, dtype, tie_word_embeddings=tied)
    assert_rounded(folder, text, unpacked(folder, dtype), tied=tied)


@pytest.mark.parametrize("text", SYMMETRIC)
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_what_we_write(text: str, tied: bool, tmp_path: Path) -> None:
    folder = quantized(tmp_path, text, torch.float32, tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_pretrained(folder)
    found = theirs(model)  # The first pass unpacks the weights.
    assert_rounded(folder, text, model.state_dict(), tied=tied)
    if not tied:  # A tied head is rounded by us, and not by them.
        assert_close(ours(folder), found)


def test_transformers_loads_zeros_when_told_to_unpack(tmp_path: Path) -> None:
    """Its default way, of version 5.23, expects zeros of another shape than the library writes."""
    folder = quantized(tmp_path, "int4-asym", torch.bfloat16, tie_word_embeddings=True)
    unpack = CompressedTensorsConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=unpack)
    assert_rounded(folder, "int4-asym", model.state_dict(), tied=True)


SCHEMES: dict[str, tuple[dict[str, Any], torch.dtype, str]] = {
    "int4 by row": ({"num_bits": 4, "strategy": "channel"}, torch.float32, "int4-g128"),
    "int8 by row": ({"num_bits": 8, "strategy": "channel"}, torch.bfloat16, "int8-g128"),
    "int4 by row, zeros": (
        {"num_bits": 4, "strategy": "channel", "symmetric": False},
        *(torch.float32, "int4-asym-g128"),
    ),
    "groups of 256": (
        {"num_bits": 4, "strategy": "group", "group_size": 256, "symmetric": False},
        *(torch.float32, "int4-asym-g128"),
    ),
    "groups of 96": (
        {"num_bits": 8, "strategy": "group", "group_size": 96},
        *(torch.float32, "int8-g32"),
    ),
    "float16 scales": (
        {"num_bits": 4, "strategy": "group", "group_size": 64},
        *(torch.float16, "int4-g64"),
    ),
    "calibrated by order": (
        {"num_bits": 4, "strategy": "group", "group_size": 128, "actorder": "weight"},
        *(torch.bfloat16, "int4-g128"),
    ),
}


def their_scales(weight: torch.Tensor, size: int, scheme: QuantizationScheme) -> dict[str, Any]:
    """Round to nearest, scales from the largest entry or the range of each group."""
    assert scheme.weights is not None
    groups = weight.float().unflatten(1, (-1, size))
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    top = (1 << scheme.weights.num_bits) - 1
    if scheme.weights.symmetric:
        return {"weight_scale": (2 * torch.maximum(-low, high) / top).to(weight.dtype)}
    scale = ((high - low) / top).to(weight.dtype)
    zero = (-low / scale.float()).round() - (top + 1) // 2
    return {"weight_scale": scale, "weight_zero_point": zero.clamp(-8, 7).to(torch.int8)}


def with_their_weights(folder: Path, out: Path, weights: dict[str, Any]) -> Path:
    """Every linear layer but the head, quantised and packed by the library."""
    group = {"targets": ["re:.*proj$"], "weights": weights, "format": "pack-quantized"}
    scheme = QuantizationScheme.model_validate(group)
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        weight = tensors.pop(name)
        size = weights.get("group_size") or weight.shape[1]
        state = {"weight": weight, **their_scales(weight, size, scheme)}
        packed = compressor.compress(state, scheme)
        tensors |= {f"{name.removesuffix('weight')}{part}": t for part, t in packed.items()}
    out.mkdir()
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }
    (out / "config.json").write_text(json.dumps(config))
    return out


@pytest.mark.parametrize("case", SCHEMES)
def test_we_read_what_the_library_writes(case: str, tmp_path: Path) -> None:
    weights, dtype, held = SCHEMES[case]
    wide = {"hidden_size": 768, "intermediate_size": 768, "num_hidden_layers": 1, "head_dim": 192}
    plain = save(oracle("llama", initializer_range=0.1, **wide).to(dtype), tmp_path / "plain")
    folder = with_their_weights(plain, tmp_path / "out", weights)
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32)
    exact = theirs(model)
    model.load_state_dict(unpacked(folder, torch.float32))
    expected = theirs(model)
    assert load_model(folder, CpuHardware()).weight_format == held
    assert_close(ours(folder), expected)
    assert (exact - expected).abs().max() > 1e-3 * expected.abs().max()
