"""GGUF files on unisono-cpu: types that are integers times scales reach its integer kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import unisono_cpu
from unisono_cpu.hardware import NativeCpuHardware, ShiftedWeight
from unisono_cpu.weights import PackedWeight

from tests.checkpoints import oracle
from tests.gguf_files import write_gguf
from tests.passes import logits
from unisono.hardware.devices.cpu import CpuHardware
from unisono.hardware.weights.block_weight import BlockWeight
from unisono.hardware.weights.stacked_weight import StackedWeight
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
    "Q4_0": ("int4", False),
    "Q8_0": ("int8", False),
    "Q5_0": ("int8", False),
    "IQ4_XS": ("int8", False),
    "Q4_1": ("int4", True),
    "Q4_K": ("int4", True),
    "Q5_K": ("int8", True),
}


def values(held: Any) -> torch.Tensor:
    if isinstance(held, ShiftedWeight):
        return held.levels.unpack() + held.shifts.unpack().repeat_interleave(32, 1)
    return held.unpack()


@pytest.mark.parametrize("type", HELD)
def test_integers_and_shifts(type: str, tmp_path: Path) -> None:
    model = oracle("llama", **WIDE)
    path = write_gguf(model, tmp_path / "model.gguf", type)
    hardware = NativeCpuHardware()
    loaded = load_model(path, hardware, dtype="float32")
    format, shifted = HELD[type]
    held = loaded.model.layers[0].mlp.gate_up_proj.weight
    assert isinstance(held, ShiftedWeight if shifted else PackedWeight)
    assert (held.levels if isinstance(held, ShiftedWeight) else held).format == format
    mlp = model.model.layers[0].mlp
    expected = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)).detach()
    torch.testing.assert_close(values(held), expected, rtol=1e-6, atol=1e-7)
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
    held = loaded.weight_bytes + table.num_bytes
    assert plans[0].num_bytes == pytest.approx(held, rel=2e-3)


@pytest.mark.parametrize("type", ["Q6_K", "Q3_K"])
def test_others_become_plain(type: str, tmp_path: Path) -> None:
    model = oracle("llama", **WIDE)
    path = write_gguf(model, tmp_path / "model.gguf", type)
    native, plain = NativeCpuHardware(), CpuHardware()
    loaded = load_model(path, native, dtype="float32")
    assert loaded.model.layers[0].mlp.down_proj.weight.format == "f32"
    assert isinstance(loaded.model.embed_tokens.weight, BlockWeight)
    expected = logits(load_model(path, plain, dtype="float32"), plain, PROMPT)
    torch.testing.assert_close(logits(loaded, native, PROMPT), expected, rtol=1e-4, atol=1e-4)


def test_types_beside_each_other(tmp_path: Path) -> None:
    """As in Q4_K_M: values in more bits than queries and keys."""

    def type_of(name: str) -> str:
        return "Q6_K" if "attn_v" in name or "ffn_down" in name else "Q4_K"

    model = oracle("qwen2", **WIDE, tie_word_embeddings=True)
    path = write_gguf(model, tmp_path / "model.gguf", type_of)
    hardware = NativeCpuHardware()
    loaded = load_model(path, hardware, dtype="bfloat16")
    assert isinstance(loaded.model.layers[0].self_attn.qkv_proj.weight, StackedWeight)
    with torch.no_grad():
        theirs = model(torch.tensor([PROMPT])).logits[0]
    error = (logits(loaded, hardware, PROMPT) - theirs).abs().max()
    assert error <= 0.05 * theirs.abs().max()
    assert unisono_cpu.LAYOUT
