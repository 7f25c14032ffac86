"""Checkpoints with experts in every form that they are published in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.checkpoints import oracle, save
from tests.families import CASES
from tests.packing_hardware import PackingHardware
from tests.stored_folders import assert_close, change_config, change_tensors, ours, theirs
from unisono.core import WeightFormat
from unisono.core.errors import CheckpointError
from unisono.hardware.devices.cpu import CpuHardware
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.models import load_model
from unisono.models.checkpoint import opening as checkpoint
from unisono.models.checkpoint.quantizing import QuantizePlan
from unisono.models.layers import Linear, MoE

Tensors = dict[str, Tensor]


def made(name: str, folder: Path, **options: Any) -> Any:
    case = CASES[name]
    model = oracle(case.model_type, **{**case.options, **options})
    save(model, folder)
    return model


def fuse_experts(tensors: Tensors, *, transposed: bool) -> None:
    """One tensor for all experts of a layer."""
    pattern = re.compile(r"(.*\.experts)\.(\d+)\.(\w+)_proj\.weight")
    found: dict[str, dict[tuple[int, str], Tensor]] = {}
    for name in list(tensors):
        if match := pattern.fullmatch(name):
            found.setdefault(match[1], {})[int(match[2]), match[3]] = tensors.pop(name)
    assert found
    for prefix, parts in found.items():
        count = 1 + max(index for index, _ in parts)
        both = [torch.cat((parts[i, "gate"], parts[i, "up"])) for i in range(count)]
        down = [parts[i, "down"] for i in range(count)]
        for name, matrices in (("gate_up_proj", both), ("down_proj", down)):
            fused = torch.stack(matrices)
            tensors[f"{prefix}.{name}"] = (fused.mT if transposed else fused).contiguous()


def test_all_experts_in_one_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("qwen3-moe", tmp_path)
    change_tensors(tmp_path, lambda tensors: fuse_experts(tensors, transposed=False))
    # A file that is opened anew for each part.
    monkeypatch.setattr(checkpoint, "_MAPPED_BYTES", 1)
    assert_close(ours(tmp_path), theirs(model))


def test_transposed_as_qwen3_vl_is_published(tmp_path: Path) -> None:
    model = made("qwen3-vl-moe", tmp_path)

    def transpose(tensors: Tensors) -> None:
        for name in [name for name in tensors if ".mlp.experts." in name]:
            tensors[name] = tensors[name].mT.contiguous()

    change_tensors(tmp_path, transpose)
    assert_close(ours(tmp_path), theirs(model))


def test_gpt_oss_as_it_is_published(tmp_path: Path) -> None:
    model = made("gpt-oss", tmp_path, intermediate_size=32)
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor([0.0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    state = model.state_dict()

    def quantize(tensors: Tensors) -> None:
        for name in [name for name in tensors if re.search(r"experts\.\w+_proj$", name)]:
            experts, columns, rows = tensors.pop(name).shape
            shape = (experts, rows, columns // 32)
            blocks = torch.randint(0, 256, (*shape, 16), generator=generator).to(torch.uint8)
            scales = torch.randint(123, 126, shape, generator=generator).to(torch.uint8)
            tensors[f"{name}_blocks"], tensors[f"{name}_scales"] = blocks, scales
            codes = torch.stack((blocks & 15, blocks >> 4), -1).flatten(-2).long()
            weights = values[codes] * torch.exp2(scales.float() - 127).unsqueeze(-1)
            state[name].copy_(weights.flatten(-2).mT)

    change_tensors(tmp_path, quantize)
    change_config(tmp_path, {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    assert_close(ours(tmp_path), theirs(model))
    loaded = load_model(tmp_path, CpuHardware(), dtype="float32")
    assert loaded.weight_format == "mxfp4"


def test_layers_for_further_tokens_are_left_out(tmp_path: Path) -> None:
    model = made("glm4-moe", tmp_path)

    def add(tensors: Tensors) -> None:
        tensors["model.layers.3.eh_proj.weight"] = torch.zeros(64, 128)
        tensors["model.layers.3.mlp.experts.0.up_proj.weight"] = torch.zeros(24, 64)

    change_tensors(tmp_path, add)
    assert_close(ours(tmp_path), theirs(model))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda tensors: tensors.pop("model.layers.1.block_sparse_moe.experts.3.w2.weight"),
            "lacks 1 tensors, such as model.layers.1.block_sparse_moe.experts.3.w2.weight",
        ),
        (
            lambda tensors: tensors.update(
                {"model.layers.1.block_sparse_moe.experts.8.w2.weight": torch.zeros(64, 24)}
            ),
            "does not know: model.layers.1.block_sparse_moe.experts.8.w2.weight",
        ),
        (
            lambda tensors: tensors.update(
                {"model.layers.1.block_sparse_moe.experts.7.w2.weight": torch.zeros(64, 25)}
            ),
            "model.layers.1.block_sparse_moe.experts.7.w2.weight has shape [64, 25]",
        ),
    ],
)
def test_errors_name_what_the_files_name(
    tmp_path: Path, change: Callable[[Tensors], object], words: str
) -> None:
    made("mixtral", tmp_path)
    change_tensors(tmp_path, change)
    with pytest.raises(CheckpointError, match=re.escape(words)):
        ours(tmp_path)


def test_a_fused_tensor_of_another_shape(tmp_path: Path) -> None:
    made("qwen3-moe", tmp_path)

    def spoil(tensors: Tensors) -> None:
        fuse_experts(tensors, transposed=False)
        name = "model.layers.0.mlp.experts.gate_up_proj"
        tensors[name] = tensors[name][:7].contiguous()

    change_tensors(tmp_path, spoil)
    with pytest.raises(CheckpointError, match=r"layers.0.mlp.experts.gate_up_proj .* has shape"):
        ours(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"num_experts_per_tok": 9}, {"n_group": 3, "topk_group": 1}, {"n_group": 2, "topk_group": 3}],
)
def test_impossible_choices(tmp_path: Path, options: dict[str, int]) -> None:
    made("glm4-moe", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **options}))
    with pytest.raises(CheckpointError, match="experts"):
        ours(tmp_path)


def test_corrections_keep_float32(tmp_path: Path) -> None:
    model = made("minimax-m2", tmp_path)
    loaded = load_model(tmp_path, CpuHardware(), dtype="bfloat16").model
    name = "model.layers.1.mlp.e_score_correction_bias"
    moe = loaded.layers[1].mlp
    assert isinstance(moe, MoE)
    assert moe.gate.e_score_correction_bias is not None
    assert torch.equal(moe.gate.e_score_correction_bias, model.state_dict()[name])


def test_quantized_folder_keeps_names_and_routers(tmp_path: Path) -> None:
    wide = {"hidden_size": 128, "intermediate_size": 64}
    made("mixtral", tmp_path / "model", **wide)
    format = WeightFormat.parse("int4")
    assert format is not None
    out = tmp_path / "int4"
    QuantizePlan(tmp_path / "model", format).write(out, source="org/original")
    names = load_file(next(out.glob("*.safetensors"))).keys()
    assert "model.layers.0.block_sparse_moe.experts.3.w1.weight_packed" in names
    assert "model.layers.0.block_sparse_moe.gate.weight" in names
    stated = json.loads((out / "config.json").read_text())["quantization_config"]
    assert stated["ignore"] == [r"re:.*\.gate$"]
    assert torch.equal(ours(out), ours(tmp_path / "model", weights="int4"))


def test_quantized_experts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNISONO_WEIGHT_CACHE", str(tmp_path / "cache"))
    made("qwen2-moe", tmp_path / "model")
    counts = []
    for _ in range(2):
        hardware = PackingHardware()
        model = load_model(tmp_path / "model", hardware, weights="int4", dtype="float32").model
        counts.append(hardware.ops.num_quantized)
        linears = {path: m for path, m in model.named_modules() if isinstance(m, Linear)}
        for path, linear in linears.items():
            is_kept = path.endswith((".gate", ".shared_expert_gate"))
            assert isinstance(linear.weight, Tensor if is_kept else LevelWeight), path
    # 3 layers of attention's 2, 8 experts' and the shared expert's 2 each, and the head.
    assert counts == [3 * (2 + 8 * 2 + 2) + 1, 0]
