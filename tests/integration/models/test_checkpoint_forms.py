"""Checkpoints that name things otherwise: the architecture left out or of another head, names with
other beginnings, tensors of other heads, a stale index. Each answers as transformers does with the
plain one, or is told what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests import checkpoints
from tests.engines import GREEDY, answers, engine
from tests.integration.models.test_bad_checkpoints import INDEX, edit, refused, rewrite
from tests.integration.models.test_gptq_awq import gptq, gptq_config
from tests.stored_folders import assert_close, ours, theirs, write_folder
from unisono.core import WeightFormat
from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.models import RawConfig, find_family
from unisono.models.checkpoint.quantizing import QuantizePlan
from unisono.models.registry import FAMILIES

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def oracles() -> dict[str, PreTrainedModel]:
    return {
        "llama": checkpoints.oracle("llama", num_hidden_layers=2),
        "qwen3": checkpoints.oracle("qwen3", num_hidden_layers=2, tie_word_embeddings=True),
    }


@pytest.fixture(params=["llama", "qwen3"])
def oracle(request: pytest.FixtureRequest, oracles: dict[str, PreTrainedModel]) -> PreTrainedModel:
    return oracles[request.param]


@pytest.fixture
def folder(oracle: PreTrainedModel, tmp_path: Path) -> Path:
    return checkpoints.save(oracle, tmp_path / "model")


def answers_like(oracle: PreTrainedModel, folder: Path) -> bool:
    (prompt,) = checkpoints.prompts(12)
    (answer,) = answers(engine(folder), [prompt])
    return checkpoints.is_greedy(oracle, prompt, answer) and len(answer) == GREEDY.max_tokens


# -- the family ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head", [None, [], ..., "ForSequenceClassification", "Model", "ForTokenClassification"]
)
def test_a_family_is_found_by_its_type(oracle: PreTrainedModel, folder: Path, head: Any) -> None:
    stem = type(oracle).__name__.removesuffix("ForCausalLM")
    names = [stem + head] if isinstance(head, str) else head
    edit(folder / "config.json", architectures=names)
    assert type(AutoModelForCausalLM.from_pretrained(folder)) is type(oracle)
    assert answers_like(oracle, folder)


def test_every_family_has_a_type() -> None:
    """A family's type is that of its text model where it has one, and its class has a head."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    types = {name: kind for kind, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()}
    shared = FAMILIES.keys() & types.keys()
    assert len(shared) > 50
    for name in shared:
        named = find_family(RawConfig({"architectures": [name]}))
        assert find_family(RawConfig({"model_type": types[name]})) is named, name


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["LlamaForCausalLMEagle3"], "llama"),
        (["TrapForCausalLM"], "llama"),
        (["Qwen3ForSequenceClassification"], "llama"),
        (["BertModel"], "bert"),
        ([], "bert"),
        (None, None),
    ],
)
def test_another_network_is_not_taken_for_one_that_is_known(names: Any, kind: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=(names or [kind or "no architecture"])[0]):
        find_family(RawConfig({"architectures": names, "model_type": kind}))


VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}


@pytest.mark.parametrize(
    ("kind", "text"),
    [("llava", "llama"), ("llava_next", "qwen2"), ("internvl", "qwen3"), ("idefics3", "llama")],
)
def test_the_text_behind_images(tmp_path: Path, kind: str, text: str) -> None:
    vision = (
        {**VISION, "patch_size": (8, 8), "image_size": (16, 16)} if kind == "internvl" else VISION
    )
    oracle = checkpoints.oracle(kind, text_config={"model_type": text}, vision_config=vision)
    assert answers_like(oracle, checkpoints.save(oracle, tmp_path))


# -- names --------------------------------------------------------------------------------------


def renamed(folder: Path, rename: Callable[[str], str]) -> None:
    def change(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[rename(name)] = tensors.pop(name)

    rewrite(folder, change)


@pytest.mark.parametrize(
    "root", ["base_model.model.", "module.", "transformer.", "language_model.", "a.b._orig_mod."]
)
def test_names_with_something_in_front(oracle: PreTrainedModel, folder: Path, root: str) -> None:
    renamed(folder, lambda name: root + name)
    assert answers_like(oracle, folder)


@pytest.mark.parametrize("root", ["", "transformer.", "model.language_model."])
def test_names_without_the_model(oracle: PreTrainedModel, folder: Path, root: str) -> None:
    renamed(
        folder,
        lambda name: root + name.removeprefix("model.") if name.startswith("model.") else name,
    )
    if not root:
        same = AutoModelForCausalLM.from_pretrained(folder).state_dict()
        assert all(torch.equal(same[name], value) for name, value in oracle.state_dict().items())
    assert answers_like(oracle, folder)


def test_a_base_model_without_a_head(oracles: dict[str, PreTrainedModel], tmp_path: Path) -> None:
    for name, oracle in oracles.items():
        oracle.base_model.save_pretrained(tmp_path / name)
    assert answers_like(oracles["qwen3"], tmp_path / "qwen3")
    refused(tmp_path / "llama", CheckpointError, "no lm_head.weight", "base", "tie_word_embeddings")


@pytest.mark.parametrize(
    "extra",
    [
        *("score.weight", "v_head.summary.weight", "value_head.weight", "classifier.bias"),
        *("mtp.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        *("model.layers.1.self_attn.masked_bias", "model.layers.1.self_attn.bias"),
    ],
)
def test_other_heads_and_old_buffers(oracle: PreTrainedModel, folder: Path, extra: str) -> None:
    rewrite(folder, lambda tensors: tensors.update({extra: torch.ones(2)}))
    assert answers_like(oracle, folder)


def test_what_is_not_used_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(folder, lambda tensors: tensors.update({"score.weight": torch.ones(2)}))
    engine(folder)
    assert "Not used: score.weight" in caplog.text


def test_a_classifier_has_no_head_for_tokens(
    oracles: dict[str, PreTrainedModel], tmp_path: Path
) -> None:
    folder = checkpoints.save(oracles["llama"], tmp_path)
    rewrite(folder, lambda tensors: tensors.update({"score.weight": tensors.pop("lm_head.weight")}))
    refused(folder, CheckpointError, "no lm_head.weight", "classifies")


@pytest.mark.parametrize("name", ["q_proj.lora_A.default.weight", "q_proj.base_layer.weight"])
def test_an_adapter_that_is_not_merged(folder: Path, name: str) -> None:
    path = f"model.layers.0.self_attn.{name}"
    rewrite(folder, lambda tensors: tensors.update({path: torch.ones(2)}))
    refused(folder, CheckpointError, "adapter (LoRA)", "merge_and_unload")


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}},
        {"weight_map": {"other": "other.safetensors"}},
        {"weight_map": {}},
        {},
    ],
)
def test_a_stale_index_beside_a_whole_file(
    oracle: PreTrainedModel, folder: Path, content: Any
) -> None:
    (folder / INDEX).write_text(json.dumps(content))
    save_file({"other": torch.ones(2)}, folder / "other.safetensors", {"format": "pt"})
    AutoModelForCausalLM.from_pretrained(folder)
    assert answers_like(oracle, folder)


def int4(folder: Path) -> tuple[dict[str, Any], torch.Tensor]:
    """A quantised folder without a word on it, the word, and what it answers with that."""
    plain = checkpoints.save(checkpoints.oracle("qwen3", num_hidden_layers=2), folder / "plain")
    QuantizePlan(plain, WeightFormat(bits=4)).write(folder / "out", source="plain")
    expected = ours(folder / "out")
    stated = json.loads((folder / "out" / "config.json").read_text())["quantization_config"]
    edit(folder / "out" / "config.json", quantization_config=...)
    return stated, expected


@pytest.mark.parametrize("method", [{}, {"quant_method": ...}])
def test_how_weights_are_quantised_by_its_old_name(tmp_path: Path, method: Any) -> None:
    stated, expected = int4(tmp_path)
    stated = {name: value for name, value in {**stated, **method}.items() if value is not ...}
    edit(tmp_path / "out" / "config.json", compression_config=stated)
    assert torch.equal(ours(tmp_path / "out"), expected)


def test_how_weights_are_quantised_in_a_file_of_its_own(tmp_path: Path) -> None:
    config = gptq_config(sym=True, desc_act=False)
    expected = theirs(write_folder(tmp_path / "gptq", config, gptq()))
    edit(tmp_path / "gptq" / "config.json", quantization_config=...)
    refused(tmp_path / "gptq", CheckpointError, "quantised weights", "quantization_config")
    stated = {name: value for name, value in config.items() if name != "quant_method"}
    (tmp_path / "gptq" / "quantize_config.json").write_text(json.dumps(stated))
    assert_close(ours(tmp_path / "gptq"), expected)


def test_a_file_on_quantising_that_was_left_behind(oracle: PreTrainedModel, folder: Path) -> None:
    (folder / "quantize_config.json").write_text(json.dumps({"bits": 4, "group_size": 128}))
    assert answers_like(oracle, folder)
    (folder / "quantize_config.json").write_text("[]")
    refused(folder, CheckpointError, "quantize_config.json", "JSON object")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"quantization": {"group_size": 64, "bits": 4}}, ["MLX", "--weights int4"]),
        ({"quantization_config": {"quant_method": "exl2", "bits": 4.0}}, ["'exl2'", "bfloat16"]),
    ],
)
def test_weights_of_other_programs(folder: Path, fields: Any, words: list[str]) -> None:
    edit(folder / "config.json", **fields)
    refused(folder, UnsupportedModelError, *words)


def test_the_type_of_weights_by_its_old_name(oracle: PreTrainedModel, folder: Path) -> None:
    edit(folder / "config.json", dtype=..., torch_dtype="float32")
    assert engine(folder).info.dtype == "float32"
    assert answers_like(oracle, folder)


def test_shards_without_an_index(oracle: PreTrainedModel, tmp_path: Path) -> None:
    checkpoints.save(oracle, tmp_path, max_shard_size="150KB")
    (tmp_path / INDEX).unlink()
    assert answers_like(oracle, tmp_path)
