"""Our folders in the library that defines their form, and its folders in our loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.checkpoints import oracle, prompts, save
from tests.passes import logits
from unisono.core import WeightFormat
from unisono.hardware.cpu import CpuHardware
from unisono.hardware.quantized import quantize
from unisono.models import load_model
from unisono.models.quantizing import QuantizePlan

PROMPT = prompts(40)[0]
SHAPE: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
FORMATS = ["int8", "int8-g128", "int4", "int4-g64", "int4-g128", "int4-asym", "int4-asym-g128"]


def parsed(text: str) -> WeightFormat:
    format = WeightFormat.parse(text)
    assert format is not None
    return format


def theirs(folder: Path) -> tuple[PreTrainedModel, torch.Tensor]:
    """The model with its weights unpacked, which the first pass does, and that pass's logits."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        found = model(torch.tensor([PROMPT])).logits[0].float()
    return model, found


def ours(folder: Path) -> torch.Tensor:
    hardware = CpuHardware()  # Its products round no activations.
    return logits(load_model(folder, hardware), hardware, PROMPT)


def assert_close(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= (1e-4 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_library_reads_what_we_write(
    text: str, tied: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    format = parsed(text)
    plain = save(oracle("qwen3", tie_word_embeddings=tied, **SHAPE).to(dtype), tmp_path / "plain")
    QuantizePlan(plain, format).write(tmp_path / "out", source="original")
    model, found = theirs(tmp_path / "out")
    originals = load_file(plain / "model.safetensors")
    rounded = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and not (tied and name == "lm_head"):
            own = format.of_head if name == "lm_head" else format
            expected = quantize(originals[f"{name}.weight"], own).dequantize(dtype)
            assert torch.equal(module.weight.detach(), expected), name
            rounded += 1
    assert rounded == 3 * 7 + (not tied)
    if not tied:  # A tied head is rounded by us, and not by them.
        assert_close(ours(tmp_path / "out"), found, dtype)


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
    model = oracle("llama", initializer_range=0.1, **wide).to(dtype)
    folder = with_their_weights(save(model, tmp_path / "plain"), tmp_path / "out", weights)
    _, expected = theirs(folder)
    loaded = load_model(folder, CpuHardware())
    assert loaded.weight_format == held
    assert_close(logits(loaded, CpuHardware(), PROMPT), expected, dtype)
    with torch.no_grad():
        rounded = (model(torch.tensor([PROMPT])).logits[0].float() - expected).abs().max()
    assert rounded > 0.001
