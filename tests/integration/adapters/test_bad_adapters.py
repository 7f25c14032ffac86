"""Every adapter that is not understood, or not of the model, is refused with a word about why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import adapters, checkpoints
from tests.engines import engine
from unisono.core.errors import AdapterError
from unisono.engine import Engine

Tensors = dict[str, torch.Tensor]
Q0 = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Path]]:
    root = tmp_path_factory.mktemp("bad")
    model = checkpoints.oracle("llama", num_hidden_layers=1)
    checkpoints.save(model, root / "model")
    adapters.adapt(model, root / "adapter")
    served = engine(root / "model", max_adapters=1, max_adapter_rank=16)
    yield served, root / "adapter"
    served.close()


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"peft_type": "IA3"}, "type 'IA3'"),
    "no kind": ({"peft_type": None}, "type None"),
    "task": ({"task_type": "SEQ_CLS"}, "task 'SEQ_CLS'"),
    "rank of 0": ({"r": 0}, "r must be a whole number above 0"),
    "rank that is no number": ({"r": "8"}, "r must be a whole number"),
    "large rank": ({"r": 4096}, "rank 4096, above the 16"),
    "large rank of one": ({"rank_pattern": {"k_proj": 4096}}, "k_proj has rank 4096"),
    "another rank": ({"r": 5}, r"lora_A.weight has shape \[4, \d+\]"),
    "alpha": ({"lora_alpha": "much"}, "lora_alpha must be a number"),
    "bias": ({"bias": "all"}, "bias 'all'"),
    "DoRA": ({"use_dora": True}, "use_dora"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    "stacked experts": ({"target_parameters": ["experts.down_proj"]}, "target_parameters"),
    "tokens": ({"trainable_token_indices": [1]}, "trainable_token_indices"),
    "biases of B": ({"lora_bias": True}, "lora_bias"),
    "repeated layers": ({"layer_replication": [[0, 1]]}, "layer_replication"),
    "changed base": ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights 'pissa_niter_4'"),
    "unknown field": ({"use_magic": {"a": 1}}, "use_magic"),
    "no targets": ({"target_modules": None}, "target_modules names no module"),
    "wrong targets": ({"target_modules": {"a": 1}}, "must be a list"),
    "targets it has not": ({"target_modules": ["q_proj"]}, "does not name model.layers.0"),
    "excluded": ({"exclude_modules": ["q_proj"]}, "does not name .*q_proj"),
    "bad pattern": ({"target_modules": "(q_proj"}, "no pattern"),
    "slow pattern": ({"target_modules": "(a+)+b"}, "could take for ever"),
    "slow key": ({"alpha_pattern": {"(.*a)*": 1}}, "alpha_pattern has a pattern"),
    "layers": ({"layers_to_transform": "0"}, "layers_to_transform must be"),
    "flag": ({"use_rslora": "yes"}, "use_rslora must be true or false"),
    "patterns": ({"rank_pattern": ["q_proj"]}, "rank_pattern must be an object"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration(name: str, made: tuple[Engine, Path], tmp_path: Path) -> None:
    fields, says = CONFIGS[name]
    served, folder = made
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, **fields}))
    with pytest.raises(AdapterError, match=says):
        served.load_adapter("bad", copy)


def without(name: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        del tensors[name]

    return change


def renamed(old: str, new: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if old in name]:
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


def changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: change(tensors[name]).contiguous()})


TENSORS: dict[str, tuple[Callable[[Tensors], None], str]] = {
    "no A": (without(Q0.format("A")), "lacks lora_A of model.layers.0.self_attn.q_proj"),
    "no B": (without(Q0.format("B")), "lacks lora_B of model.layers.0.self_attn.q_proj"),
    "no module": (renamed("self_attn.q_proj", "self_attn.x.q_proj"), "lacks .*self_attn.q_proj"),
    "empty": (lambda tensors: tensors.clear(), "holds no tensors"),
    "not PEFT's": (renamed("base_model.model.", ""), "not understood: model.layers.0"),
    "another kind": (renamed(".lora_A.", ".lora_E."), "not understood: .*lora_E"),
    "further layer": (
        lambda tensors: tensors.update(
            {name.replace("layers.0", "layers.7"): t.clone() for name, t in tensors.items()}
        ),
        "no linear layer model.layers.7",
    ),
    "columns": (changed(Q0.format("A"), lambda a: a[:, :-1]), r"lora_A.* has shape \[4, 63\]"),
    "rows": (changed(Q0.format("B"), lambda b: b[:-1]), r"lora_B.* has shape \[63, 4\]"),
    "dimensions": (changed(Q0.format("A"), lambda a: a[0]), r"has shape \[64\]"),
    "whole numbers": (changed(Q0.format("A"), lambda a: a.to(torch.int8)), "stored as I8"),
    "not finite": (changed(Q0.format("B"), lambda b: b / 0), "not finite"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors(name: str, made: tuple[Engine, Path], tmp_path: Path) -> None:
    change, says = TENSORS[name]
    served, folder = made
    copy = shutil.copytree(folder, tmp_path / "copy")
    tensors = load_file(copy / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, copy / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=says):
        served.load_adapter("bad", copy)


def test_files(made: tuple[Engine, Path], tmp_path: Path) -> None:
    served, folder = made
    with pytest.raises(AdapterError, match=r"has no adapter_config\.json"):
        served.load_adapter("bad", tmp_path / "nowhere")
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = copy / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(AdapterError, match="cannot be read"):
        served.load_adapter("bad", copy)
    weights.rename(copy / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"has no adapter_model\.safetensors.* can run code"):
        served.load_adapter("bad", copy)
    (copy / "adapter_config.json").write_text("[1")
    with pytest.raises(AdapterError, match="not valid JSON"):
        served.load_adapter("bad", copy)


def test_heads_and_embeddings(made: tuple[Engine, Path], tmp_path: Path) -> None:
    served, _ = made
    for module in ("lm_head", "embed_tokens"):
        model = checkpoints.oracle("llama", num_hidden_layers=1)
        adapters.adapt(model, tmp_path / module, target_modules=[module])
        with pytest.raises(AdapterError, match=module):
            served.load_adapter("bad", tmp_path / module)


def test_after_all_that_a_good_one(made: tuple[Engine, Path]) -> None:
    served, folder = made
    served.load_adapter("good", folder)
    with pytest.raises(AdapterError, match="As many adapters are loaded as may be: 1"):
        served.load_adapter("another", folder)
    served.remove_adapter("good")
