"""A folder with quantised weights answers natively as the original does with ``--weights``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from unisono_cpu import PackedWeight
from unisono_cpu.hardware import NativeCpuHardware

from tests.checkpoints import oracle, prompts, save
from tests.passes import logits
from unisono.core import WeightFormat
from unisono.models import LoadedModel, load_model
from unisono.models.checkpoint.quantizing import QuantizePlan
from unisono.models.layers import Linear

PROMPT = prompts(40)[0]


def loaded(folder: Path, weights: str = "auto") -> tuple[LoadedModel, torch.Tensor]:
    hardware = NativeCpuHardware()
    model = load_model(folder, hardware, weights=weights)
    return model, logits(model, hardware, PROMPT)


def blobs(model: LoadedModel) -> dict[str, torch.Tensor]:
    """The packed bytes of every linear layer."""
    linears = {n: m.weight for n, m in model.model.named_modules() if isinstance(m, Linear)}
    assert linears
    assert all(isinstance(weight, PackedWeight) for weight in linears.values())
    return {name: weight.blob for name, weight in linears.items()}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("text", ["int8-g32", "int4", "int4-asym"])
def test_the_same_packed_bytes_and_logits(
    text: str, dtype: torch.dtype, tied: bool, tmp_path: Path
) -> None:
    model = oracle("qwen3", tie_word_embeddings=tied, attention_bias=True).to(dtype)
    plain = save(model, tmp_path / "plain")
    format = WeightFormat.parse(text)
    assert format is not None
    QuantizePlan(plain, format).write(tmp_path / "out", source="org/original")
    original, expected = loaded(plain, text)
    written, found = loaded(tmp_path / "out")
    assert torch.equal(found, expected)
    wanted, held = blobs(original), blobs(written)
    assert held.keys() == wanted.keys()
    assert all(torch.equal(held[name], wanted[name]) for name in held)
