"""Model folders that cannot be used: each a typed error that names what is wrong."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import checkpoints
from tests.engines import GREEDY, answers, engine
from tests.families import CASES
from unisono.core import format_bytes
from unisono.core.errors import (
    CheckpointError,
    ConfigError,
    DeviceNotFoundError,
    InsufficientMemoryError,
    LayerListError,
    UnisonoError,
    UnsupportedModelError,
)
from unisono.hardware import MemoryInfo
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import FAMILIES

ARCHITECTURE = {
    "qwen3-moe": "Qwen3MoeForCausalLM",
    "llama4": "Llama4ForCausalLM",
    "lfm2-moe": "Lfm2MoeForCausalLM",
    "deepseek-v3": "DeepseekV3ForCausalLM",
    "deepseek-v3.2": "DeepseekV32ForCausalLM",
}
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good checkpoint in one file, and the same in shards."""
    model = checkpoints.oracle("llama", num_hidden_layers=2)
    root = tmp_path_factory.mktemp("good")
    return {
        "single": checkpoints.save(model, root / "single"),
        "sharded": checkpoints.save(model, root / "sharded", max_shard_size="150KB"),
    }


@pytest.fixture
def folder(sources: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(sources["single"], tmp_path / "model")


@pytest.fixture
def sharded(sources: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(sources["sharded"], tmp_path / "model")


def refused(folder: Path, error: type[UnisonoError], *words: str, **options: Any) -> str:
    """The message with which the folder is refused; it has all the words."""
    with pytest.raises(UnisonoError) as caught:
        engine(folder, **options)
    assert type(caught.value) is error, caught.value
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message) < 600
    return message


def edit(path: Path, **fields: Any) -> None:
    """Set fields of a JSON file; ``...`` takes one out."""
    values = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: v for name, v in values.items() if v is not ...}))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_the_good_ones_load(folder: Path, sources: dict[str, Path]) -> None:
    assert len(answers(engine(folder), [[5, 6]])[0]) == len(
        answers(engine(sources["sharded"]), [[5, 6]])[0]
    )


# -- config.json ------------------------------------------------------------------------------


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", CheckpointError, "nowhere", "config.json")


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    refused(folder, CheckpointError, "has no config.json")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"null",
        b'"llama"',
        b'{"a": \xff}',
        b"\x00" * 100,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"hidden_size": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda text: repr(text[:10]),
)
def test_a_config_that_is_not_a_json_object(folder: Path, text: bytes) -> None:
    (folder / "config.json").write_bytes(text)
    refused(folder, CheckpointError, "config.json", "Fetch the model again")


@pytest.mark.parametrize(
    "name",
    [
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "max_position_embeddings",
        "head_dim",
    ],
)
@pytest.mark.parametrize("value", ["64", 64.5, True, 0, -4, [64], {}, 10**12, 10**40, float("nan")])
def test_numbers_of_the_wrong_kind(folder: Path, name: str, value: Any) -> None:
    edit(folder / "config.json", **{name: value})
    refused(folder, CheckpointError, "config.json", name, "positive integer")


@pytest.mark.parametrize(
    "name", ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"]
)
def test_numbers_that_are_missing(folder: Path, name: str) -> None:
    edit(folder / "config.json", **{name: ...})
    refused(folder, CheckpointError, "config.json", name, "None")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rms_norm_eps": "small"}, ["rms_norm_eps", "number"]),
        ({"rms_norm_eps": float("inf")}, ["rms_norm_eps", "number"]),
        ({"rms_norm_eps": -1e-6}, ["rms_norm_eps", "positive"]),
        ({"tie_word_embeddings": "yes"}, ["tie_word_embeddings", "true or false"]),
        ({"attention_bias": 1}, ["attention_bias", "true or false"]),
        ({"mlp_bias": []}, ["mlp_bias", "true or false"]),
        ({"num_key_value_heads": 3}, ["4 heads", "3 key-value heads"]),
        ({"head_dim": 15}, ["even number", "15"]),
        ({"architectures": "LlamaForCausalLM"}, ["architectures", "list"]),
        ({"architectures": [["LlamaForCausalLM"]]}, ["architectures", "list"]),
        ({"architectures": 7}, ["architectures", "list"]),
        ({"quantization_config": "fp8"}, ["quantization_config", "object"]),
        ({"rope_parameters": "yarn"}, ["rope_parameters", "object"]),
        ({"rope_parameters": ..., "rope_scaling": ["yarn"]}, ["rope_scaling", "object"]),
        ({"rope_parameters": ..., "rope_theta": "10k"}, ["rope_theta", "number"]),
        ({"rope_parameters": {"rope_theta": -1.0}}, ["rope_theta", "positive"]),
        ({"rope_parameters": {"rope_theta": 1.0}}, ["rope_theta", "above 1"]),
        ({"rope_parameters": {"partial_rotary_factor": 2.0}}, ["16", "32"]),
        ({"rope_parameters": {"partial_rotary_factor": "all"}}, ["partial_rotary_factor"]),
    ],
    ids=str,
)
def test_fields_of_the_wrong_kind(folder: Path, fields: Any, words: list[str]) -> None:
    edit(folder / "config.json", **fields)
    refused(folder, CheckpointError, "config.json", *words)


WINDOWS: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 8}


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"use_sliding_window": "on"}, CheckpointError, ["use_sliding_window"]),
        ({"sliding_window": "8"}, CheckpointError, ["sliding_window", "integer"]),
        ({"max_window_layers": "8", "layer_types": ...}, CheckpointError, ["max_window_layers"]),
        ({"max_window_layers": -1, "layer_types": ...}, CheckpointError, ["max_window_layers"]),
        ({"layer_types": "all"}, LayerListError, ["layer_types", "list"]),
        ({"layer_types": [[]]}, LayerListError, ["layer_types", "list"]),
        ({"layer_types": ["full_attention"]}, LayerListError, ["layer_types", "3 layers"]),
        ({"layer_types": ["linear"] * 3}, LayerListError, ["sliding_attention"]),
    ],
    ids=str,
)
def test_windows_of_the_wrong_kind(
    tmp_path: Path, fields: Any, error: type[UnisonoError], words: list[str]
) -> None:
    checkpoints.save(checkpoints.oracle("qwen2"), tmp_path)
    edit(tmp_path / "config.json", **{**WINDOWS, **fields})
    refused(tmp_path, error, "config.json", *words)


@pytest.mark.parametrize("names", [["BertModel"], ["GrokForCausalLM", "X"], [], ...])
def test_an_unknown_architecture_is_named(folder: Path, names: Any) -> None:
    edit(folder / "config.json", architectures=names, model_type=...)
    unknown = ", ".join(names) if names not in ([], ...) else "names no architecture"
    refused(folder, UnsupportedModelError, unknown, f"Known are {len(FAMILIES)}", "docs/models.md")


def test_an_unknown_architecture_comes_with_the_nearest_known(folder: Path) -> None:
    edit(folder / "config.json", architectures=["Qwen3ForCasualLM"])
    refused(folder, UnsupportedModelError, "Qwen3ForCasualLM", "nearest Qwen3ForCausalLM")


def test_quantised_checkpoints(folder: Path) -> None:
    edit(folder / "config.json", quantization_config={"quant_method": "aqlm", "bits": 2})
    refused(folder, UnsupportedModelError, "aqlm", "bfloat16")
    edit(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    refused(folder, CheckpointError, "group_size")


def test_a_head_that_is_said_to_be_the_embedding_and_is_not(folder: Path) -> None:
    edit(folder / "config.json", tie_word_embeddings=True)
    refused(folder, CheckpointError, "lm_head.weight", "not the embedding", "tie_word_embeddings")


def test_other_activations(folder: Path) -> None:
    edit(folder / "config.json", hidden_act="mish")
    refused(folder, UnsupportedModelError, "mish")


@pytest.mark.parametrize("kind", ["ntk", "mrope", 7, ["yarn"]])
def test_unknown_rope(folder: Path, kind: Any) -> None:
    edit(folder / "config.json", rope_parameters={"rope_type": kind, "rope_theta": 1e4})
    refused(folder, UnsupportedModelError, str(kind).strip("[]'"), "default, linear, llama3")


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize("kind", ["linear", "llama3", "dynamic"])
def test_rope_without_its_numbers(folder: Path, kind: str) -> None:
    edit(folder / "config.json", rope_parameters={"rope_type": kind})
    refused(folder, CheckpointError, f"rope '{kind}'", "factor", "None")


@pytest.mark.parametrize(
    ("rope", "words"),
    [
        ({**LLAMA3, "factor": "8"}, ["factor", "'8'"]),
        ({**LONG, "short_factor": None}, ["short_factor", "8 positive numbers"]),
        ({**LONG, "long_factor": [1.0] * 7}, ["long_factor", "8 positive numbers"]),
        ({**LONG, "long_factor": [0.0] * 8}, ["long_factor", "8 positive numbers"]),
        ({**LONG, "long_factor": "8"}, ["long_factor", "8 positive numbers"]),
        ({**LLAMA3, "factor": 0}, ["factor", "positive"]),
        ({**LLAMA3, "high_freq_factor": None}, ["high_freq_factor"]),
        ({**LLAMA3, "high_freq_factor": 1.0}, ["low_freq_factor", "high_freq_factor"]),
        ({**YARN, "factor": float("nan")}, ["factor"]),
        ({**YARN, "beta_fast": True}, ["beta_fast"]),
        ({**YARN, "attention_factor": "big"}, ["attention_factor", "big"]),
        ({**YARN, "mscale": "x", "mscale_all_dim": 1.0}, ["mscale"]),
        ({**YARN, "original_max_position_embeddings": []}, ["original_max_position_embeddings"]),
    ],
    ids=str,
)
def test_rope_numbers_of_the_wrong_kind(folder: Path, rope: Any, words: list[str]) -> None:
    edit(folder / "config.json", rope_parameters=rope)
    refused(folder, CheckpointError, "rope", *words)


ABSURD = 10**9


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("qwen3-moe", {"num_hidden_layers": ABSURD}),
        ("llama4", {"num_hidden_layers": ABSURD}),
        ("lfm2-moe", {"num_hidden_layers": ABSURD}),
        ("deepseek-v3", {"num_hidden_layers": ABSURD}),
        ("deepseek-v3", {"num_nextn_predict_layers": ABSURD}),
        ("deepseek-v3.2", {"num_hidden_layers": ABSURD}),
    ],
    ids=str,
)
def test_counts_of_layers_are_read_before_anything_counts(
    tmp_path: Path, family: str, fields: dict[str, Any]
) -> None:
    case = CASES[family]
    checkpoints.configuration(case.model_type, **case.options).save_pretrained(tmp_path)
    edit(tmp_path / "config.json", architectures=[ARCHITECTURE[family]], **fields)
    refused(tmp_path, CheckpointError, "config.json", *fields, "at most", str(ABSURD))


@pytest.mark.parametrize("family", ["qwen3-moe", "deepseek-v3"])
def test_layers_times_experts_are_counted_before_they_are_made(tmp_path: Path, family: str) -> None:
    case = CASES[family]
    options = {**case.options, "num_hidden_layers": 4000}
    checkpoints.configuration(case.model_type, **options).save_pretrained(tmp_path)
    experts = {"num_experts": 8192, "n_routed_experts": 8192}
    edit(tmp_path / "config.json", architectures=[ARCHITECTURE[family]], **experts)
    refused(tmp_path, CheckpointError, "layers of 8192 experts", "more than 65536")


# -- weights ----------------------------------------------------------------------------------


def test_a_shard_that_the_index_names_is_missing(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.rename(shard.with_name(f"{shard.name}.incomplete"))
    refused(sharded, CheckpointError, f"lacks {shard.name}", "incomplete", "again")


def test_a_single_file_that_is_not_complete(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.rename(folder / "model.safetensors.incomplete")
    refused(folder, CheckpointError, "no safetensors", "download may be incomplete")


@pytest.mark.parametrize("size", [0, 4, 8, 100, -1, -1000])
def test_truncated_files(folder: Path, size: int) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: size if size >= 0 else len(content) + size])
    refused(folder, CheckpointError, "model.safetensors", "cannot be read", "again")


@pytest.mark.parametrize(
    "content",
    [b"<html>404 not found</html>" * 40, b"\xff" * 4096],
    ids=["html", "bytes"],
)
def test_garbage_files(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, CheckpointError, "model.safetensors", "cannot be read")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "generation_config.json"])
def test_a_pointer_in_the_place_of_a_file(folder: Path, name: str) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n")
    refused(folder, CheckpointError, name, "pointer of git-lfs", "git lfs pull")


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": ["a"]}'])
def test_an_index_without_a_map(sharded: Path, content: str) -> None:
    (sharded / INDEX).write_text(content)
    refused(sharded, CheckpointError, INDEX, "weight_map")


def test_an_index_that_is_broken(sharded: Path) -> None:
    (sharded / INDEX).write_text('{"weight_map": ')
    refused(sharded, CheckpointError, INDEX, "JSON")


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", "a/../../x", "sub/x"])
def test_an_index_that_points_outside(sharded: Path, name: str) -> None:
    shutil.copy(next(sharded.glob("*.safetensors")), sharded.parent / "x.safetensors")
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"]["lm_head.weight"] = name
    (sharded / INDEX).write_text(json.dumps(index))
    refused(sharded, CheckpointError, name, "plain file name")


@pytest.mark.parametrize("name", ["", "..", 7, None, "x\x00y", "x" * 300])
def test_an_index_with_names_that_are_no_files(sharded: Path, name: Any) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    refused(sharded, CheckpointError)


@pytest.mark.parametrize(
    ("fields", "tensor"),
    [
        ({"vocab_size": 500}, "[500, 64]"),
        ({"intermediate_size": 100}, "[64, 100]"),
        ({"head_dim": 32}, "[64, 64]"),
        ({"num_key_value_heads": 1}, "[16, 64]"),
    ],
    ids=str,
)
def test_a_config_that_contradicts_its_weights(folder: Path, fields: Any, tensor: str) -> None:
    edit(folder / "config.json", **fields)
    refused(folder, CheckpointError, "has shape", tensor, "not of the same model")


def test_more_layers_than_weights(folder: Path) -> None:
    edit(folder / "config.json", num_hidden_layers=3)
    refused(folder, CheckpointError, "lacks 9 tensors", "model.layers.2.")


def test_more_weights_than_layers(folder: Path) -> None:
    edit(folder / "config.json", num_hidden_layers=1)
    refused(folder, CheckpointError, "does not know", "model.layers.1.")


def test_a_missing_tensor(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop("model.norm.weight"))
    refused(folder, CheckpointError, "lacks 1 tensors", "model.norm.weight")


def test_an_unexpected_tensor(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"model.extra.weight": torch.ones(2)}))
    refused(folder, CheckpointError, "does not know", "model.extra.weight")


def test_a_tensor_in_two_shards(sharded: Path) -> None:
    first, *_, last = sorted(sharded.glob("*.safetensors"))
    tensors, others = load_file(first), load_file(last)
    name = next(iter(tensors))
    save_file({**others, name: tensors[name]}, last, {"format": "pt"})
    refused(sharded, CheckpointError, "holds twice", name)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_weights_in_a_format_that_is_not_known(folder: Path, dtype: torch.dtype) -> None:
    def quantise(tensors: dict[str, torch.Tensor]) -> None:
        name = "model.layers.0.mlp.up_proj.weight"
        tensors[name] = tensors[name].to(dtype)

    rewrite(folder, quantise)
    name = str(dtype).removeprefix("torch.")
    refused(folder, UnsupportedModelError, "mlp.up_proj.weight", name, "bfloat16")


# -- nothing in a folder is run ---------------------------------------------------------------


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, crater: Path) -> None:
        self.crater = crater

    def __reduce__(self) -> Any:
        return (Path.touch, (self.crater,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_never_opened(folder: Path, name: str) -> None:
    crater = folder / "crater"
    (folder / name).write_bytes(pickle.dumps(Bomb(crater)))
    (folder / "model.safetensors").unlink()
    refused(folder, CheckpointError, "no safetensors", "pickled", "can run code")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    refused(folder, CheckpointError, name, "cannot be read")
    assert not crater.exists()
    pickle.loads((folder / name).read_bytes())  # noqa: S301 - it is a live one
    assert crater.exists()


def test_python_files_are_never_imported(folder: Path) -> None:
    crater = folder / "crater"
    for name in ("modeling_trap", "configuration_trap", "conftest", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(crater)!r}, 'w')")
    auto_map = {"AutoModelForCausalLM": "modeling_trap.Trap", "AutoConfig": "configuration_trap.C"}
    edit(folder / "config.json", auto_map=auto_map, trust_remote_code=True)
    assert len(answers(engine(folder), [[5, 6, 7]])[0]) == GREEDY.max_tokens
    edit(folder / "config.json", architectures=["TrapForCausalLM"])
    refused(folder, UnsupportedModelError, "TrapForCausalLM", "never run")
    assert not crater.exists()
    assert "modeling_trap" not in sys.modules


# -- generation_config.json -------------------------------------------------------------------


@pytest.mark.parametrize("value", ["2", 2.0, True, -2, 512, [2, "3"], [2, 600], {"id": 2}, [[2]]])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_bad_eos_token_ids(folder: Path, file: str, value: Any) -> None:
    edit(folder / "generation_config.json", eos_token_id=...)
    edit(folder / file, eos_token_id=value)
    refused(folder, CheckpointError, "eos_token_id", "512", str(value))


@pytest.mark.parametrize("value", [None, -1, [], [None, -1], 511, [2, 511], [-1, 2]])
def test_good_eos_token_ids(folder: Path, value: Any) -> None:
    edit(folder / "generation_config.json", eos_token_id=value)
    engine(folder)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_broken_generation_config(folder: Path, text: str) -> None:
    (folder / "generation_config.json").write_text(text)
    refused(folder, CheckpointError, "generation_config.json", "JSON")


# -- devices and memory -----------------------------------------------------------------------


def test_a_dtype_that_the_device_lacks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(folder, ConfigError, "float64", "bfloat16", dtype="float64")

    narrow = replace(CpuHardware.facts, dtypes=("float32",))
    monkeypatch.setattr(CpuHardware, "facts", narrow)
    refused(folder, ConfigError, "cpu does not support bfloat16", "float32", dtype="bfloat16")


def test_too_little_memory_says_how_much_is_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = engine(folder).info.weight_bytes
    free = weights + 8 * 2**20 - 1
    monkeypatch.setattr(CpuHardware, "memory", lambda self: MemoryInfo(free, 2**40))
    refused(
        folder,
        InsufficientMemoryError,
        f"{format_bytes(free)} free",
        f"need {format_bytes(weights)}",
        format_bytes(8 * 2**20),
        "--kv-memory",
    )
    engine(folder, kv_memory=4 * 2**20)


def test_kv_memory_too_small_names_what_is_enough(folder: Path) -> None:
    message = refused(folder, InsufficientMemoryError, "--kv-memory", kv_memory=2000)
    enough = int(message.rpartition("--kv-memory ")[2].removesuffix("KiB.")) * 1024
    assert engine(folder, kv_memory=enough).info.max_model_len >= 1
    refused(folder, InsufficientMemoryError, kv_memory=enough // 2)


def test_memory_for_an_absurd_state_is_said_in_a_short_number(tmp_path: Path) -> None:
    case = CASES["qwen3_5"]
    config = checkpoints.configuration(case.model_type, **case.options)
    config.linear_value_head_dim = ABSURD
    config.save_pretrained(tmp_path)
    edit(tmp_path / "config.json", architectures=["Qwen3_5ForCausalLM"])
    message = refused(tmp_path, InsufficientMemoryError, "the weights need")
    assert re.search(r"the weights need \d{1,3}\.\d TiB\.", message)


def test_blocks_that_do_not_divide_a_chunk(tmp_path: Path) -> None:
    case = CASES["llama4"]
    checkpoints.configuration(case.model_type, **case.options).save_pretrained(tmp_path)
    edit(tmp_path / "config.json", architectures=["Llama4ForCausalLM"])
    refused(tmp_path, ConfigError, "16 tokens", "12 tokens", "block_size", block_size=12)


def test_max_model_len_beyond_the_model(folder: Path) -> None:
    refused(folder, ConfigError, "257", "256", "--max-model-len 256", max_model_len=257)
    assert engine(folder, max_model_len=256).info.max_model_len == 256


def test_max_model_len_beyond_the_budget_names_what_works(folder: Path) -> None:
    small: dict[str, Any] = {"kv_memory": 40_000}
    message = refused(
        folder, InsufficientMemoryError, "256 tokens", "130.0 KiB", max_model_len=256, **small
    )
    most = int(message.rpartition("to ")[2].rstrip("."))
    assert engine(folder, max_model_len=most, **small).info.max_model_len == most
    refused(folder, InsufficientMemoryError, max_model_len=most + 1, **small)
    assert engine(folder, **small).info.max_model_len == most


@pytest.mark.parametrize("device", ["sundial", "sundial:1", "", "cpu:x", "cpu:-1", "CPU", "auto:0"])
def test_an_unknown_device_lists_those_found(folder: Path, device: str) -> None:
    refused(folder, DeviceNotFoundError, "Known:", "cpu", device=device)


def test_a_device_that_is_one_too_many(folder: Path) -> None:
    refused(folder, DeviceNotFoundError, "cpu:3", "there are 1", device="cpu:3")
    assert engine(folder, device="cpu:0").info.device == "cpu"
