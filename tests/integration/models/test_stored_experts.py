"""Mixtures of experts whose weights are stored quantised: one tensor an expert, or one for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from tests.checkpoints import oracle
from tests.families import CASES as FAMILIES
from tests.integration.models import test_compressed_forms as compressed
from tests.integration.models import test_float4 as float4
from tests.integration.models import test_float8 as float8
from tests.integration.models import test_gptq_awq as gptq
from tests.passes import logits_of_parts
from tests.stored_folders import (
    PROMPT,
    Writer,
    assert_close,
    change_config,
    change_tensors,
    ours,
    theirs,
    with_values,
    write_folder,
)
from unisono.core.errors import CheckpointError
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import load_model

EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "head_dim": 16,
}
ROWS = compressed.CASES["int8 by row"]
CASES: dict[str, tuple[dict[str, Any], Writer]] = {
    "fp8": (float8.config([40, 24]), float8.in_blocks([40, 24])),
    "gptq": gptq.CASES["gptq, by activation"][:2],
    "awq": gptq.CASES["awq"][:2],
    "int8": (compressed.config(*ROWS[:2]), compressed.by_library(*ROWS[:2])),
    "nvfp4": float4.CASES["nvfp4"][:2],
}


@pytest.mark.parametrize("case", CASES)
def test_experts_with_tensors_of_their_own(case: str, tmp_path: Path) -> None:
    stated, writer = CASES[case]
    model = write_folder(tmp_path / "model", stated, writer, "qwen3_moe", **EXPERTS)
    assert_close(ours(tmp_path / "model"), theirs(model))


def test_deepseek_as_published(tmp_path: Path) -> None:
    """Latent attention takes one of its matrices apart, so that one is not held as codes."""
    stated, writer = CASES["fp8"]
    options = FAMILIES["deepseek-v3"].options
    model = write_folder(tmp_path / "model", stated, writer, "deepseek_v3", **options)
    assert_close(ours(tmp_path / "model"), theirs(model))
    model.save_pretrained(tmp_path / "plain")
    found, expected = (ours(tmp_path / name, weights="int8") for name in ("model", "plain"))
    assert_close(found, expected)


def gpt_oss(folder: Path) -> PreTrainedModel:
    """Experts in MXFP4, all of a layer in one tensor, inputs last; the rest as it was."""
    size = {"intermediate_size": 64, "num_local_experts": 4, "num_experts_per_tok": 2}
    model = oracle("gpt_oss", head_dim=32, **size)
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    values = {}
    for name in [n for n in tensors if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        pieces, made = float4.mxfp4(tensors.pop(name).transpose(1, 2))
        values[name] = made.transpose(1, 2).contiguous()
        tensors |= {f"{name}_{piece}": tensor for piece, tensor in pieces.items()}
    assert len(values) == 6
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    change_config(folder, float4.MXFP4)
    return with_values(model, values, folder.parent / "with values")


def test_gpt_oss(tmp_path: Path) -> None:
    model = gpt_oss(tmp_path / "model")
    assert load_model(tmp_path / "model", CpuHardware()).weight_format == "mxfp4"
    assert_close(ours(tmp_path / "model"), theirs(model))
    parts = logits_of_parts(tmp_path / "model", CpuHardware(), tmp_path / "meeting", 2, PROMPT)
    assert_close(parts[0], theirs(model))


def test_gpt_oss_as_levels(tmp_path: Path) -> None:
    model = gpt_oss(tmp_path / "model")
    model.save_pretrained(tmp_path / "plain")
    found, expected = (ours(tmp_path / name, weights="int8") for name in ("model", "plain"))
    assert_close(found, expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("model.layers.1.mlp.experts.down_proj_scales"), "does not state"),
        (lambda t: t["model.layers.1.mlp.experts.down_proj_scales"].fill_(255), "no numbers"),
        (
            lambda t: t.update(
                {
                    "model.layers.0.mlp.experts.gate_up_proj_blocks": t[
                        "model.layers.0.mlp.experts.gate_up_proj_blocks"
                    ][:3].clone()
                }
            ),
            "does not state",
        ),
    ],
)
def test_experts_that_are_no_such_weights(change: Any, words: str, tmp_path: Path) -> None:
    gpt_oss(tmp_path)
    change_tensors(tmp_path, change)
    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path, CpuHardware())


def total(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def test_experts_are_held_as_small_as_the_file(tmp_path: Path) -> None:
    gpt_oss(tmp_path)
    file = total(load_file(tmp_path / "model.safetensors"))
    held = load_model(tmp_path, CpuHardware(), dtype="float32").weight_bytes
    assert 0.98 * file < held <= file
