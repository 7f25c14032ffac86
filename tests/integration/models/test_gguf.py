"""GGUF files against transformers: the same weights, the same logits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from transformers import PreTrainedModel

from tests.checkpoints import oracle, save
from tests.engines import engine
from tests.gguf_files import write_gguf
from tests.packing_hardware import PackingHardware
from tests.passes import logits, logits_of_parts
from tests.pooled import hidden_states, pooled
from unisono.core.errors import CheckpointError, ConfigError, UnsupportedModelError
from unisono.core.pooling import Pooling, PoolingKind
from unisono.hardware.devices.cpu import CpuHardware
from unisono.hardware.weights.block_weight import BlockWeight
from unisono.hub import resolve_model
from unisono.hub.model_role import read_role
from unisono.models import LoadedModel, load_model
from unisono.models.layers import Linear
from unisono.models.parallel import Shard

PROMPT = [3, 77, 5, 300, 41, 9, 500, 12, 88, 3, 4, 5]
WIDE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "head_dim": 64,
    "initializer_range": 0.05,
}
TYPES = (
    *("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS", "MXFP4"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
)


def ours(path: Path, dtype: str = "float32", **options: Any) -> torch.Tensor:
    hardware = CpuHardware()
    return logits(load_model(path, hardware, dtype=dtype, **options), hardware, PROMPT)


def theirs(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("type", TYPES)
def test_every_type(type: str, tmp_path: Path) -> None:
    model = oracle("llama", **WIDE)
    path = write_gguf(model, tmp_path / "model.gguf", type)
    assert_close(ours(path), theirs(model))


SMALL: dict[str, Any] = {"head_dim": 16}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-tied": ("llama", {**SMALL, "tie_word_embeddings": True}),
    "llama-biases": ("llama", {**SMALL, "attention_bias": True, "mlp_bias": True}),
    "llama-one-kv-head": ("llama", {**SMALL, "num_key_value_heads": 1}),
    "llama-theta": ("llama", {**SMALL, "rope_theta": 5e5, "rms_norm_eps": 0.1}),
    "llama-head-dim": ("llama", {"head_dim": 24}),
    "qwen2": ("qwen2", {}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "qwen3-tied": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3_moe": (
        "qwen3_moe",
        {
            "head_dim": 16,
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "norm_topk_prob": True,
        },
    ),
    "mixtral": ("mixtral", {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2_moe": (
        "qwen2_moe",
        {
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "shared_expert_intermediate_size": 32,
            "norm_topk_prob": False,
        },
    ),
    "gpt_oss": (
        "gpt_oss",
        {
            "head_dim": 16,
            "num_local_experts": 5,
            "num_experts_per_tok": 2,
            "sliding_window": 5,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e4,
                "factor": 4.0,
                "original_max_position_embeddings": 64,
                "truncate": False,
            },
        },
    ),
    "mistral": ("mistral", {"head_dim": 16, "sliding_window": 5}),
    "gemma": ("gemma", {"head_dim": 16}),
    "gemma2": ("gemma2", {"head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 16}),
    "gemma3": ("gemma3_text", {"head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 16}),
    "olmo2": ("olmo2", {}),
    "exaone4": (
        "exaone4",
        {"head_dim": 16, "sliding_window": None, "layer_types": ["full_attention"] * 3},
    ),
    "exaone4-window": ("exaone4", {"head_dim": 16, "sliding_window": 5, "num_hidden_layers": 4}),
    "olmo3": ("olmo3", {"sliding_window": 5, "num_hidden_layers": 4}),
    "command-r": ("cohere", {"logit_scale": 0.25}),
    "phi3": ("phi3", {"sliding_window": 5}),
    "phi3-partial": ("phi3", {"partial_rotary_factor": 0.75, "hidden_size": 128}),
    "glm4": ("glm4", {"head_dim": 16, "attention_bias": True}),
    "granite": (
        "granite",
        {
            "attention_multiplier": 0.3,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.5,
            "logits_scaling": 2.0,
        },
    ),
    "smollm3": ("smollm3", {"num_hidden_layers": 5}),
    "arcee": ("arcee", {"head_dim": 16}),
    "ernie4_5": ("ernie4_5", {"head_dim": 16}),
    "seed_oss": ("seed_oss", {"head_dim": 16, "attention_out_bias": True}),
    "starcoder2": ("starcoder2", {}),
    "nemotron": ("nemotron", {"head_dim": 16}),
    "cohere2": ("cohere2", {"sliding_window": 5, "logit_scale": 0.25, "num_hidden_layers": 4}),
}


@pytest.mark.parametrize("case", MODELS)
def test_families(case: str, tmp_path: Path) -> None:
    family, options = MODELS[case]
    model = oracle(family, **options, intermediate_size=128)
    path = write_gguf(model, tmp_path / "model.gguf", "Q8_0")
    assert_close(ours(path), theirs(model))


def mixed(name: str) -> str:
    """Types mixed in llama.cpp's way: values in more bits than keys, an embedding in others."""
    types = {"attn_v": "Q6_K", "ffn_down": "Q5_K", "token_embd": "Q2_K", "attn_k": "F16"}
    return next((type for part, type in types.items() if part in name), "Q4_K")


def test_types_beside_each_other(tmp_path: Path) -> None:
    model = oracle("llama", **WIDE, tie_word_embeddings=True)
    path = write_gguf(model, tmp_path / "model.gguf", mixed)
    loaded = load_model(path, CpuHardware(), dtype="float32")
    assert loaded.weight_format == "Q4_K"
    assert_close(ours(path), theirs(model))


def test_blocks_stay_in_the_mapped_file(tmp_path: Path) -> None:
    model = oracle("qwen3", **WIDE)
    path = write_gguf(model, tmp_path / "model.gguf", "Q4_0")
    loaded = load_model(path, CpuHardware())
    assert loaded.dtype == torch.bfloat16
    held = [loaded.model.embed_tokens.weight, loaded.model.layers[0].mlp.down_proj.weight]
    assert all(isinstance(weight, BlockWeight) for weight in held)
    storages = {weight.data.untyped_storage().data_ptr() for weight in held}
    assert len(storages) == 1
    assert loaded.weight_bytes < 0.6 * loaded.num_parameters + 10_000


ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}


@pytest.mark.parametrize("kind", ROPES)
def test_rope_scaling(kind: str, tmp_path: Path) -> None:
    rope = {"rope_theta": 1e4, **ROPES[kind]}
    model = oracle("llama", head_dim=16, rope_parameters=rope)

    def extend(writer: GGUFWriter) -> None:
        if kind == "llama3":
            plain = 1.0 / 1e4 ** (torch.arange(0, 16, 2).float() / 16)
            factors = plain / model.model.rotary_emb.inv_freq
            writer.add_tensor("rope_freqs.weight", factors.numpy())

    path = write_gguf(model, tmp_path / "model.gguf", "F32", extend=extend)
    assert_close(ours(path), theirs(model))


def test_files_of_a_split_model(tmp_path: Path) -> None:
    model = oracle("qwen2")
    path = write_gguf(model, tmp_path / "model.gguf", "Q8_0", split_tensors=9)
    assert len(list(tmp_path.iterdir())) > 2
    assert resolve_model(str(tmp_path)) == path
    other = sorted(tmp_path.iterdir())[2]
    assert resolve_model(str(other)) == path
    assert_close(ours(path), theirs(model))


@pytest.mark.parametrize("tied", [False, True])
def test_in_two_parts(tied: bool, tmp_path: Path) -> None:
    model = oracle(
        "llama", head_dim=32, num_key_value_heads=1, hidden_size=128, tie_word_embeddings=tied
    )
    path = write_gguf(model, tmp_path / "model.gguf", lambda n: "F16" if "down" in n else "Q5_1")
    for part in logits_of_parts(path, CpuHardware(), tmp_path / "meet", 2, PROMPT):
        assert_close(part, theirs(model))


def test_parts_that_would_cut_a_block(tmp_path: Path) -> None:
    path = write_gguf(oracle("llama", **WIDE), tmp_path / "model.gguf", "Q4_K")
    with pytest.raises(ConfigError, match="blocks of 256 inputs"):
        load_model(path, CpuHardware(), shard=Shard(rank=0, size=2))


def test_weights_in_another_format(tmp_path: Path) -> None:
    """--weights int8 makes the same of a GGUF file as of safetensors with the same numbers."""
    model = oracle("qwen3", **WIDE)
    path = write_gguf(model, tmp_path / "model.gguf", "Q6_K")
    folder = save(model, tmp_path / "folder")
    hardware = PackingHardware()
    first = ours(path, weights="int8")
    assert torch.equal(first, ours(folder, weights="int8"))
    for _ in range(2):
        kept = load_model(path, hardware, dtype="float32", weights="int8")
        assert kept.weight_format == "int8-g128"
        assert torch.equal(logits(kept, hardware, PROMPT), first)
    assert hardware.ops.num_quantized == len(list(linears(kept)))


def linears(loaded: LoadedModel) -> list[Linear]:
    return [module for module in loaded.model.modules() if isinstance(module, Linear)]


def test_what_ends_an_answer(tmp_path: Path) -> None:
    def extend(writer: GGUFWriter) -> None:
        tokens = [f"t{index}" for index in range(512)]
        tokens[9], tokens[11] = "<|im_end|>", "<|eot_id|>"
        kinds = [1] * 512
        kinds[9] = 3
        writer.add_token_list(tokens)
        writer.add_token_types(kinds)
        writer.add_eot_token_id(7)

    path = write_gguf(oracle("llama"), tmp_path / "model.gguf", "Q8_0", extend=extend)
    assert load_model(path, CpuHardware()).eos_token_ids == {2, 7, 9}


# -- files that are wrong -------------------------------------------------------------------------


def refused(path: Path, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_model(path, CpuHardware())


def test_unknown_architectures(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "model.gguf", "strange")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    refused(tmp_path / "model.gguf", UnsupportedModelError, "architecture 'strange'")


def test_a_type_that_is_not_read(tmp_path: Path) -> None:
    def type_of(name: str) -> str:
        return "IQ2_XXS" if "ffn_up" in name else "Q8_0"

    path = write_gguf(oracle("llama", **WIDE), tmp_path / "model.gguf", type_of)
    refused(path, UnsupportedModelError, r"up_proj\.weight is stored as IQ2_XXS")


Change = Callable[[GGUFWriter], None]
WRONG: dict[str, tuple[Change, type[Exception], str]] = {
    "a tensor too many": (
        lambda writer: writer.add_tensor("blk.0.strange.weight", np.zeros((2, 2), np.float32)),
        CheckpointError,
        r"does not know: blk\.0\.strange",
    ),
    "an unknown rope": (
        lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE),
        UnsupportedModelError,
        "longrope",
    ),
    "too few rope factors": (
        lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(3, np.float32)),
        CheckpointError,
        "8 positive",
    ),
    "rope factors of 0": (
        lambda writer: writer.add_tensor("rope_freqs.weight", np.zeros(8, np.float32)),
        CheckpointError,
        "8 positive",
    ),
    "experts that are not there": (
        lambda writer: writer.add_expert_count(8),
        CheckpointError,
        "does not know",
    ),
    "values of another size": (
        lambda writer: writer.add_uint32("llama.attention.value_length", 8),
        UnsupportedModelError,
        "different sizes",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files(case: str, tmp_path: Path) -> None:
    change, error, words = WRONG[case]
    path = write_gguf(oracle("llama"), tmp_path / "model.gguf", "Q8_0", extend=change)
    refused(path, error, words)


FIELDS: dict[str, tuple[str, Any, str]] = {
    "no layers": ("num_hidden_layers", 0, "num_hidden_layers must be a positive integer"),
    "too many layers": ("num_hidden_layers", 9, "lacks"),
    "another width": ("intermediate_size", 64, "has shape"),
    "another number of heads": ("num_attention_heads", 3, "key-value heads"),
    "an absurd width": ("hidden_size", 2**31, "hidden_size must be"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_wrong_fields(case: str, tmp_path: Path) -> None:
    name, value, words = FIELDS[case]
    model = oracle("qwen2")
    states: Any = copy.copy(model.config)
    setattr(states, name, value)
    path = write_gguf(model, tmp_path / "model.gguf", "Q8_0", states=states)
    refused(path, CheckpointError, words)


def test_a_file_that_is_cut(tmp_path: Path) -> None:
    path = write_gguf(oracle("llama"), tmp_path / "model.gguf", "Q8_0")
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, CheckpointError, "ends before the tensor")


def test_a_file_without_a_model(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    refused(tmp_path / "model.gguf", CheckpointError, "no embedding")


@pytest.mark.parametrize(("pooling_type", "kind"), [(1, "mean"), (3, "last")])
def test_a_model_that_embeds(tmp_path: Path, pooling_type: int, kind: PoolingKind) -> None:
    """Its header says how it pools, and no head is loaded."""
    model = oracle("qwen3", tie_word_embeddings=True)

    def extend(writer: GGUFWriter) -> None:
        writer.add_uint32("qwen3.pooling_type", pooling_type)

    path = write_gguf(model, tmp_path / "model.gguf", "F32", extend=extend)
    role = read_role(path)
    assert (role.task, role.pooling) == ("embed", Pooling(kind=kind, normalize=True))
    hidden = hidden_states(model, PROMPT)
    expected = hidden[-1] if kind == "last" else hidden.mean(0)
    found = pooled(engine(path, task="embed"), [PROMPT], role.pooling)[0]
    assert torch.allclose(found, torch.nn.functional.normalize(expected, dim=0), atol=1e-4)


def test_a_model_that_pools_in_a_way_that_is_not_known(tmp_path: Path) -> None:
    model = oracle("qwen3", tie_word_embeddings=True)
    path = write_gguf(
        model,
        tmp_path / "model.gguf",
        "F32",
        extend=lambda writer: writer.add_uint32("qwen3.pooling_type", 2),
    )
    with pytest.raises(UnsupportedModelError, match="pools as 2"):
        read_role(path)
    assert read_role(path, "generate").task == "generate"
