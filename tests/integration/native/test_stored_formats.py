"""Quantised checkpoints on the native kernels: which reach them, and that the others answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from unisono_cpu import PackedWeight
from unisono_cpu.hardware import NativeCpuHardware, NativeCpuOps

from tests.engines import engine
from tests.integration.models import test_bitsandbytes as bnb
from tests.integration.models import test_compressed_forms as compressed
from tests.integration.models import test_float8 as float8
from tests.integration.models import test_gptq_awq as gptq
from tests.passes import logits
from tests.stored_folders import PROMPT, Writer, assert_close, theirs, write_folder
from unisono.hardware.weights.coded_weight import CodedWeight
from unisono.hardware.weights.reordered_weight import ReorderedWeight
from unisono.models import load_model

NATIVE: dict[str, tuple[dict[str, Any], Writer]] = {
    "awq": gptq.CASES["awq"][:2],
    "gptq": gptq.CASES["gptq"][:2],
    "gptq by activation": gptq.CASES["gptq, by activation"][:2],
    "int8 by row": (
        compressed.config("int-quantized", compressed.CASES["int8 by row"][1]),
        compressed.by_library("int-quantized", compressed.CASES["int8 by row"][1]),
    ),
    "llm.int8": bnb.CASES["int8"][:2],
}
LOOKED_UP: dict[str, tuple[dict[str, Any], Writer]] = {
    "fp8": (float8.config([40, 24]), float8.in_blocks([40, 24])),
    "nf4": bnb.CASES["nf4"][:2],
    "gptq, 3 bits": gptq.CASES["gptq, 3 bits"][:2],
}


def ours(folder: Path, **options: Any) -> tuple[torch.Tensor, Any, NativeCpuOps]:
    """Logits, what one of the layers holds, and the ops."""
    hardware = NativeCpuHardware()
    loaded = load_model(folder, hardware, dtype="float32", **options)
    layer: Any = loaded.model.layers[0]
    return logits(loaded, hardware, PROMPT), layer.mlp.down_proj.weight, hardware.ops


@pytest.mark.parametrize("case", NATIVE)
def test_levels_reach_the_kernels(case: str, tmp_path: Path) -> None:
    stated, writer = NATIVE[case]
    model = write_folder(tmp_path, stated, writer)
    found, weight, ops = ours(tmp_path)
    weight = weight.weight if isinstance(weight, ReorderedWeight) else weight
    assert isinstance(weight, PackedWeight)
    assert not ops.decodes
    assert "--weights" not in engine(tmp_path).info.note
    # The kernels round activations to 8 bits.
    assert (found - theirs(model)).norm() <= 0.05 * theirs(model).norm()


@pytest.mark.parametrize("case", LOOKED_UP)
def test_codes_are_multiplied_by_torch(case: str, tmp_path: Path) -> None:
    stated, writer = LOOKED_UP[case]
    model = write_folder(tmp_path, stated, writer)
    found, weight, ops = ours(tmp_path)
    assert isinstance(weight, CodedWeight)
    assert ops.decodes
    assert_close(found, theirs(model))
    assert "with --weights int8" in engine(tmp_path).info.note


def test_codes_become_levels_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNISONO_WEIGHT_CACHE", str(tmp_path / "cache"))
    stated, writer = LOOKED_UP["fp8"]
    model = write_folder(tmp_path / "fp8", stated, writer)
    model.save_pretrained(tmp_path / "plain")
    first, weight, _ = ours(tmp_path / "fp8", weights="int8")
    assert isinstance(weight, PackedWeight)
    assert weight.format == "int8"
    kept = list((tmp_path / "cache").iterdir())
    again, *_ = ours(tmp_path / "fp8", weights="int8")
    assert list((tmp_path / "cache").iterdir()) == kept
    expected, *_ = ours(tmp_path / "plain", weights="int8")
    assert torch.equal(first, expected)
    assert torch.equal(again, expected)
