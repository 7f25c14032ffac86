"""MXFP4 of gpt-oss, compared with transformers; FP8 and NVFP4 of ModelOpt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from tests.passes import logits_of_parts
from tests.stored_folders import (
    PROMPT,
    Writer,
    assert_close,
    change_config,
    change_tensors,
    ours,
    theirs,
    write_folder,
)
from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.hardware import find_hardware
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import RawConfig, load_model
from unisono.models.checkpoint.formats.stored_format import find_stored_format

CPU = torch.device("cpu")
MODULE = "model.layers.0.mlp.up_proj"
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}
FP8 = {"quant_method": "modelopt", "quant_algo": "FP8"}
E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
SIGNED = torch.cat([E2M1, -E2M1])
WIDE = {"intermediate_size": 128}


def codes_of(ratios: Tensor) -> Tensor:
    """The nearest codes, two a byte: uint8 [.., C / 2]."""
    codes = (ratios.unsqueeze(-1) - SIGNED).abs().argmin(-1)
    return (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8)


def mxfp4(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """[.., N, K], with experts in front as gpt-oss has them."""
    groups = weight.unflatten(-1, (-1, 32))
    exponents = (groups.abs().amax(-1) / 6).log2().ceil()
    blocks = codes_of(groups / exponents.exp2().unsqueeze(-1))
    pieces = {"blocks": blocks, "scales": (exponents + 127).to(torch.uint8)}
    experts = {name: piece if weight.dim() == 3 else piece[None] for name, piece in pieces.items()}
    values = convert_moe_packed_tensors(experts["blocks"], experts["scales"], dtype=torch.float32)
    return pieces, values.transpose(1, 2).reshape(weight.shape)


def nvfp4(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Stored pieces and values of a weight. ``NVFP4QTensor.dequantize`` multiplies in this order:
    codes times (scale times the whole's scale)."""
    groups = weight.unflatten(-1, (-1, 16))
    whole = weight.abs().max() / (6 * 448)
    scales = (groups.abs().amax(-1) / (6 * whole)).to(torch.float8_e4m3fn)
    spread = (scales.float() * whole).unsqueeze(-1)
    octets = codes_of(groups / spread)
    codes = torch.stack((octets & 15, octets >> 4), -1).flatten(-2).long()
    pieces = {"weight": octets.flatten(1), "weight_scale": scales, "weight_scale_2": whole}
    pieces["input_scale"] = torch.ones(())
    return pieces, (SIGNED[codes] * spread).flatten(1)


def fp8(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    scale = weight.abs().max() / 448
    made = (weight / scale).to(torch.float8_e4m3fn)
    pieces = {"weight": made, "weight_scale": scale, "input_scale": torch.ones(())}
    return {**pieces, "k_scale": torch.ones(())}, made.float() * scale


CASES: dict[str, tuple[dict[str, Any], Writer, str]] = {
    "mxfp4": (MXFP4, mxfp4, "mxfp4"),
    "nvfp4": (NVFP4, nvfp4, "nvfp4"),
    "fp8": (FP8, fp8, "fp8"),
}


@pytest.mark.parametrize("case", CASES)
def test_logits(case: str, tmp_path: Path) -> None:
    stated, writer, held = CASES[case]
    model = write_folder(tmp_path / "model", stated, writer, "llama", **WIDE)
    assert load_model(tmp_path / "model", CpuHardware()).weight_format == held
    assert_close(ours(tmp_path / "model"), theirs(model))
    parts = logits_of_parts(tmp_path / "model", CpuHardware(), tmp_path / "meeting", 2, PROMPT)
    assert_close(parts[0], theirs(model))


def test_they_can_become_levels(tmp_path: Path) -> None:
    model = write_folder(tmp_path / "mxfp4", MXFP4, mxfp4, **WIDE)
    model.save_pretrained(tmp_path / "plain")
    found = ours(tmp_path / "mxfp4", weights="int4")
    assert torch.equal(found, ours(tmp_path / "plain", weights="int4"))


def test_mxfp4_of_experts_bit_for_bit() -> None:
    weight = torch.randn(3, 40, 96, generator=torch.Generator().manual_seed(0))
    weight[1] *= 2.0**-100
    weight[2, 7] *= 2.0**100
    pieces, values = mxfp4(weight)
    reader = find_stored_format(RawConfig({"quantization_config": MXFP4}))
    assert reader is not None
    for expert in range(3):
        own = {name: piece[expert] for name, piece in pieces.items()}
        shapes = {name: tuple(piece.shape) for name, piece in own.items()}
        assert str(reader.format_of("w", (40, 96), shapes)) == "mxfp4"
        held = reader.unpack("w", (40, 96), own).to(CPU)
        assert torch.equal(held.dequantize(), values[expert])
        assert held.num_bytes == 40 * 96 * 17 // 32


@pytest.mark.parametrize(
    ("case", "change", "words"),
    [
        ("mxfp4", lambda t: t.pop(f"{MODULE}.scales"), "does not state"),
        ("mxfp4", lambda t: t[f"{MODULE}.scales"].fill_(255), "no numbers"),
        (
            "mxfp4",
            lambda t: t.update({f"{MODULE}.scales": torch.ones(128, 2)}),
            "scales is stored as float32",
        ),
        (
            "mxfp4",
            lambda t: t.update({f"{MODULE}.blocks": t[f"{MODULE}.blocks"].int()}),
            "codes is stored as int32",
        ),
        ("nvfp4", lambda t: t.pop(f"{MODULE}.weight_scale_2"), "does not state"),
        ("nvfp4", lambda t: t[f"{MODULE}.weight_scale_2"].fill_(float("nan")), "no numbers"),
        ("nvfp4", lambda t: t.pop(f"{MODULE}.weight"), "does not state"),
        ("fp8", lambda t: t.pop(f"{MODULE}.weight_scale"), "has no scales"),
    ],
)
def test_tensors_that_are_no_such_weight(
    case: str, change: Any, words: str, tmp_path: Path
) -> None:
    stated, writer, _ = CASES[case]
    write_folder(tmp_path, stated, writer, **WIDE)
    change_tensors(tmp_path, change)
    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path, find_hardware("cpu"))


@pytest.mark.parametrize("kind", ["W4A8_AWQ", None, ["NVFP4"]])
def test_kinds_that_are_not_read(kind: Any, tmp_path: Path) -> None:
    write_folder(tmp_path, NVFP4, nvfp4, **WIDE)
    change_config(tmp_path, {**NVFP4, "quant_algo": kind})
    with pytest.raises(UnsupportedModelError, match="Read are FP8 and NVFP4"):
        load_model(tmp_path, find_hardware("cpu"))
