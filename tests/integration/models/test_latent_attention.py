"""Latent attention in checkpoints as published: quantised, with layers for drafts, or wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import checkpoints
from tests.engines import answers, engine
from tests.families.latent import DENSE, EXPERTS, GROUPS, SPARSE
from tests.integration.models.test_float8 import config, in_blocks
from tests.passes import logits_of_parts
from tests.stored_folders import assert_close, change_tensors, ours, theirs, write_folder
from unisono.cli.benching.limits import count_kv_bytes, count_prefill_flops
from unisono.core.errors import CheckpointError, UnisonoError, UnsupportedModelError
from unisono.hardware import find_hardware
from unisono.models import RawConfig, find_family, load_model

V3: dict[str, Any] = {**EXPERTS, **GROUPS}
KIMI_CODE = {"model_type": "kimi_k2", "auto_map": {"AutoConfig": "configuration_deepseek.Config"}}
"""Never run."""


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.fixture(scope="module")
def fp8(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("fp8")
    stated = config([16, 32])
    return write_folder(folder, stated, in_blocks([16, 32]), "deepseek_v3", **DENSE), folder


def test_fp8_blocks(fp8: tuple[Any, Path]) -> None:
    model, folder = fp8
    assert_close(ours(folder), theirs(model))


def test_fp8_blocks_on_two_ranks(fp8: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = fp8
    (prompt,) = checkpoints.prompts(40)
    for found in logits_of_parts(folder, find_hardware("cpu"), tmp_path / "meet", 2, prompt):
        assert_close(found, theirs(model))


def test_kimi_k25_as_it_is_published(fp8: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = fp8
    text = json.loads((folder / "config.json").read_text())
    names = {"architectures": ["KimiK25ForConditionalGeneration"], "model_type": "kimi_k25"}
    stated = {**names, "tie_word_embeddings": False, "text_config": {**text, **KIMI_CODE}}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    tensors = load_file(folder / "model.safetensors")
    held = {f"language_model.{name}": tensor for name, tensor in tensors.items()}
    held |= {f"{part}.weight": torch.ones(2) for part in ("vision_tower.a", "mm_projector.b")}
    save_file(held, tmp_path / "model.safetensors", {"format": "pt"})
    assert_close(ours(tmp_path), theirs(model))


def test_quantising_leaves_what_is_absorbed(tmp_path: Path) -> None:
    model = checkpoints.oracle("deepseek_v3", **V3)
    folder = checkpoints.save(model, tmp_path)
    loaded = load_model(folder, find_hardware("cpu"), dtype="float32", weights="int4")
    attention: Any = loaded.model.layers[1].self_attn
    keys, values = attention.kv_b_proj.parts_by_head()
    held = torch.cat((keys, values), 1).flatten(0, 1)
    assert torch.equal(held, model.model.layers[1].self_attn.kv_b_proj.weight)
    assert not isinstance(attention.o_proj.weight, torch.Tensor)
    assert len(answers(engine(folder, weights="int4"), checkpoints.prompts(9))[0]) == 24


def test_layers_that_draft_are_left_in_the_file(tmp_path: Path) -> None:
    model = checkpoints.oracle("deepseek_v3", **V3)
    folder = checkpoints.save(model, tmp_path)
    draft = {"model.layers.2.eh_proj.weight": torch.zeros(64, 128)}
    change_tensors(folder, lambda tensors: tensors.update(draft))
    edit(folder, num_nextn_predict_layers=1)
    assert_close(ours(folder), theirs(model))
    edit(folder, num_nextn_predict_layers=0)
    with pytest.raises(CheckpointError, match=r"does not know: model\.layers\.2\.eh_proj"):
        load_model(folder, find_hardware("cpu"))


def test_work_that_bench_counts(tmp_path: Path) -> None:
    runner = engine(checkpoints.save(checkpoints.oracle("glm_moe_dsa", **SPARSE), tmp_path)).runner
    latents, keys, heads, chosen = 32 + 8, 16, 4, SPARSE["index_topk"]
    assert count_kv_bytes(runner, 100) == 3 * 4 * (chosen * latents + 100 * keys)
    assert count_kv_bytes(runner, 5) == 3 * 4 * 5 * (latents + keys)
    pairs, seen = 20 * 21 // 2, chosen * (chosen + 1) // 2 + (20 - chosen) * chosen
    between = 2 * (seen * heads * (16 + 8 + 12) + pairs * SPARSE["index_n_heads"] * keys)
    assert runner.model.attention_flops(0, 20) == between
    assert count_prefill_flops(runner, 20) > 3 * between


WRONG: dict[str, tuple[str, dict[str, Any], type[UnisonoError], str]] = {
    "no rank": ("deepseek_v3", {"kv_lora_rank": None}, CheckpointError, "kv_lora_rank"),
    "rank is text": ("deepseek_v3", {"q_lora_rank": "24"}, CheckpointError, "q_lora_rank"),
    "odd rotation": ("deepseek_v3", {"qk_rope_head_dim": 7}, CheckpointError, "even number"),
    "a share rotates": (
        "deepseek_v3",
        {"partial_rotary_factor": 0.5},
        CheckpointError,
        "qk_rope_head_dim",
    ),
    "fewer key-value heads": (
        "deepseek_v3",
        {"num_key_value_heads": 2},
        CheckpointError,
        "as many key-value heads",
    ),
    "groups do not divide": ("deepseek_v3", {"n_group": 3}, CheckpointError, "groups"),
    "too many chosen": ("deepseek_v3", {"num_experts_per_tok": 9}, CheckpointError, "experts"),
    "softmax scores": (
        "deepseek_v3",
        {"scoring_func": "softmax"},
        UnsupportedModelError,
        "scoring_func",
    ),
    "turns": ("deepseek_v3", {"moe_layer_freq": 2}, UnsupportedModelError, "moe_layer_freq"),
    "unknown choice": ("deepseek_v2", {"topk_method": "best"}, UnsupportedModelError, "best"),
    "normalised": ("deepseek_v2", {"norm_topk_prob": True}, UnsupportedModelError, "norm_topk"),
    "a short index": ("deepseek_v32", {"index_head_dim": 4}, CheckpointError, "index_head_dim"),
    "no index": ("deepseek_v32", {"index_topk": 0}, CheckpointError, "index_topk"),
    "no query latent": ("deepseek_v32", {"q_lora_rank": None}, CheckpointError, "q_lora_rank"),
    "layers of no kind": (
        "deepseek_v32",
        {"mlp_layer_types": ["dense", "wide", "sparse"]},
        CheckpointError,
        "mlp_layer_types",
    ),
    "too few layers": (
        "glm_moe_dsa",
        {"indexer_types": ["full", "shared"]},
        CheckpointError,
        "indexer_types",
    ),
    "nothing to share": (
        "glm_moe_dsa",
        {"indexer_types": ["shared", "full", "full"]},
        CheckpointError,
        "full for the first",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_configurations_are_refused(case: str, tmp_path: Path) -> None:
    model_type, fields, error, words = WRONG[case]
    sparse = model_type in ("deepseek_v32", "glm_moe_dsa")
    values = checkpoints.configuration(model_type, **(SPARSE if sparse else V3)).to_dict()
    names = {"deepseek_v2": "V2", "deepseek_v3": "V3", "deepseek_v32": "V32"}
    architecture = f"Deepseek{names.get(model_type)}ForCausalLM"
    values["architectures"] = ["GlmMoeDsaForCausalLM" if model_type[0] == "g" else architecture]
    raw = RawConfig({**values, **fields})
    with pytest.raises(error, match=words):
        find_family(raw).read_config(raw)


def test_more_to_select_than_any_context_takes_no_more_memory(tmp_path: Path) -> None:
    model = checkpoints.oracle("deepseek_v32", **SPARSE)
    checkpoints.save(model, tmp_path)
    edit(tmp_path, index_topk=200)
    (prompt,) = checkpoints.prompts(40)
    expected = answers(engine(tmp_path), [prompt])
    edit(tmp_path, index_topk=2**31)
    assert answers(engine(tmp_path), [prompt]) == expected
