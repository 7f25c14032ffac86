"""GGUF files on unisono-cpu: types that are integers times scales reach its integer kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import unisono_cpu
from unisono_cpu.hardware import NativeCpuHardware
from unisono_cpu.weights import PackedWeight

from tests.checkpoints import oracle
from tests.gguf_files import write_gguf
from tests.passes import logits
from unisono.hardware.weights.block_weight import BlockWeight
from unisono.models import load_model
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.loading import Reserve

PROMPT = [3, 77, 5, 300, 41, 9, 500, 12, 88, 3, 4, 5]
WIDE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 1,
    "head_dim": 64,
    "initializer_range": 0.05,
}
HELD = {
    "Q4_0": ("int4", 4.5),
    "Q8_0": ("int8", 8.5),
    "Q5_0": ("int8", 8.5),
    "IQ4_XS": ("int8", 9.0),
    "Q3_K": ("int8", 10.0),
    "Q6_K": ("int8", 10.0),
    "Q4_1": ("int4s", 5.0),
    "Q4_K": ("int4s", 6.0),
    "Q5_K": ("int8s", 10.0),
    "Q2_K": ("int8s", 12.0),
}
"""Format, and bits a weight."""


@pytest.mark.parametrize("type", HELD)
def test_integers_and_shifts(type: str, tmp_path: Path) -> None:
    model = oracle("llama", **WIDE)
    path = write_gguf(model, tmp_path / "model.gguf", type)
    hardware = NativeCpuHardware()
    loaded = load_model(path, hardware, dtype="float32")
    format, bits = HELD[type]
    held = loaded.model.layers[0].mlp.gate_up_proj.weight
    assert isinstance(held, PackedWeight)
    assert held.format == format
    assert held.num_bytes * 8 / (held.shape[0] * held.shape[1]) == pytest.approx(bits, rel=0.01)
    mlp = model.model.layers[0].mlp
    expected = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)).detach()
    torch.testing.assert_close(held.unpack(), expected, rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        theirs = model(torch.tensor([PROMPT])).logits[0]
    error = (logits(loaded, hardware, PROMPT) - theirs).abs().max()
    assert error <= 0.05 * theirs.abs().max()


@pytest.mark.parametrize("type", ["Q6_K", "Q8_0"])
def test_a_plan_counts_both_forms_of_a_tied_table(type: str, tmp_path: Path) -> None:
    model = oracle("llama", tie_word_embeddings=True, **WIDE)
    path = write_gguf(model, tmp_path / "model.gguf", type)
    plans: list[WeightPlan] = []

    def reserve(plan: WeightPlan) -> Reserve:
        plans.append(plan)
        return Reserve()

    loaded = load_model(path, NativeCpuHardware(), reserve=reserve)
    table = loaded.model.embed_tokens.weight
    assert isinstance(table, BlockWeight)
    assert plans[0].num_bytes == pytest.approx(loaded.weight_bytes, rel=2e-3)


def test_plain_numbers_of_a_file_stay_plain(tmp_path: Path) -> None:
    path = write_gguf(oracle("llama", **WIDE), tmp_path / "model.gguf", "F16")
    loaded = load_model(path, NativeCpuHardware(), dtype="float32")
    assert loaded.model.layers[0].mlp.down_proj.weight.format == "f32"


def test_types_beside_each_other(tmp_path: Path) -> None:
    """Q4_K_M keeps values in more bits than queries and keys."""

    def type_of(name: str) -> str:
        return "Q6_K" if "attn_v" in name or "ffn_down" in name else "Q4_K"

    model = oracle("qwen2", **WIDE, tie_word_embeddings=True)
    path = write_gguf(model, tmp_path / "model.gguf", type_of)
    hardware = NativeCpuHardware()
    loaded = load_model(path, hardware, dtype="bfloat16")
    held = loaded.model.layers[0].self_attn.qkv_proj.weight
    assert (held.format, held.group) == ("int8s", 16)
    with torch.no_grad():
        theirs = model(torch.tensor([PROMPT])).logits[0]
    error = (logits(loaded, hardware, PROMPT) - theirs).abs().max()
    assert error <= 0.05 * theirs.abs().max()
    assert unisono_cpu.LAYOUT
