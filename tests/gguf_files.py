"""GGUF files of tiny models, written with the library that defines the format.

``write_gguf`` takes a model of transformers and changes its weights to the ones that the file then
has, so that the model is the oracle of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from transformers import PreTrainedModel

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "mixtral": gguf.MODEL_ARCH.LLAMA,
    "qwen2_moe": gguf.MODEL_ARCH.QWEN2MOE,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
    "gpt_oss": gguf.MODEL_ARCH.GPT_OSS,
    "gemma": gguf.MODEL_ARCH.GEMMA,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "olmo2": gguf.MODEL_ARCH.OLMO2,
    "olmo3": gguf.MODEL_ARCH.OLMO2,
    "exaone4": gguf.MODEL_ARCH.EXAONE4,
    "cohere": gguf.MODEL_ARCH.COMMAND_R,
    "cohere2": gguf.MODEL_ARCH.COHERE2,
    "phi3": gguf.MODEL_ARCH.PHI3,
    "glm4": gguf.MODEL_ARCH.GLM4,
    "granite": gguf.MODEL_ARCH.GRANITE,
    "smollm3": gguf.MODEL_ARCH.SMOLLM3,
    "arcee": gguf.MODEL_ARCH.ARCEE,
    "ernie4_5": gguf.MODEL_ARCH.ERNIE4_5,
    "seed_oss": gguf.MODEL_ARCH.SEED_OSS,
    "starcoder2": gguf.MODEL_ARCH.STARCODER2,
    "nemotron": gguf.MODEL_ARCH.NEMOTRON,
}
_HALVES = {
    "Q2_K": ((80, 0.02), (82, 0.02)),
    "Q3_K": ((108, 0.002),),
    "Q4_K": ((0, 0.0005), (2, 0.0005)),
    "Q5_K": ((0, 0.0003), (2, 0.0003)),
    "Q6_K": ((208, 0.00005),),
    "IQ4_NL": ((0, 0.002),),
    "IQ4_XS": ((0, 0.0001),),
}
"""Type -> byte offset of each float16 scale in a block, and its size for weights around 0.1."""
TypeOf = Callable[[str], str]


def _random_blocks(
    type: str, shape: tuple[int, ...], generator: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Bytes of any kind, with scales that make them weights of an ordinary size."""
    size, num_bytes = gguf.GGML_QUANT_SIZES[GGMLQuantizationType[type]]
    blocks = generator.integers(0, 256, (*shape[:-1], shape[-1] // size, num_bytes), dtype=np.uint8)
    for at, scale in _HALVES.get(type, ()):
        values = (generator.uniform(0.5, 1.5, blocks.shape[:-1]) * scale).astype(np.float16)
        blocks[..., at : at + 2] = values[..., None].view(np.uint8)
    if type == "MXFP4":
        blocks[..., 0] = generator.integers(120, 124, blocks.shape[:-1])
    return blocks.reshape(*shape[:-1], -1)


def write_gguf(
    model: PreTrainedModel,
    path: Path,
    type: str | TypeOf = "F32",
    *,
    extend: Callable[[GGUFWriter], None] = lambda writer: None,
    split_tensors: int = 0,
    eos: bool = True,
    states: Any = None,
) -> Path:
    """Args:
    type: of matrices, or a function from llama.cpp's name of one to its type.
    extend: adds what else the header is to have.
    split_tensors: how many tensors a file has at most.
    states: a configuration for the header that is not the model's.
    eos: whether token 2 ends an answer; otherwise ``extend`` says which.
    """
    config = model.config
    arch = ARCHITECTURES[config.model_type]
    writer = GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch], split_max_tensors=split_tensors)
    _write_config(writer, states or config)
    if eos:
        writer.add_eos_token_id(2)
    extend(writer)
    generator = np.random.default_rng(0)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, whole in model.named_parameters():
        for theirs, parameter in _tensors(name, whole, names, arch):
            chosen = type if isinstance(type, str) else type(theirs)
            is_matrix = parameter.dim() > 1 and theirs.endswith("weight")
            chosen = chosen if is_matrix and "ffn_gate_inp" not in theirs else "F32"
            change, undo = _changes(theirs, arch, config)
            values = change(parameter.detach().float().numpy())
            data = encoded(values, chosen, generator)
            held = quants.dequantize(data, GGMLQuantizationType[chosen]).reshape(values.shape)
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(undo(held))))
            writer.add_tensor(theirs, data, raw_dtype=GGMLQuantizationType[chosen])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if not split_tensors else min(path.parent.glob(f"{path.stem}-*.gguf"))


_TURNED = (
    gguf.MODEL_ARCH.LLAMA,
    gguf.MODEL_ARCH.GRANITE,
    gguf.MODEL_ARCH.SMOLLM3,
    gguf.MODEL_ARCH.ARCEE,
)
"""Architectures whose queries and keys are permuted: llama.cpp's converter derives them from
``LlamaModel``."""
Change = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def _tensors(
    name: str, parameter: torch.Tensor, names: gguf.TensorNameMap, arch: gguf.MODEL_ARCH
) -> list[tuple[str, torch.Tensor]]:
    """The file's tensors of a parameter, by llama.cpp's names; views of it."""
    prefix, found, _ = name.partition(".mlp.experts.")
    if not found:
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if name.endswith("sinks"):
            theirs = f"blk.{prefix.split('.')[2]}.attn_sinks.weight"
        assert theirs is not None, name
        return [(theirs, parameter)]
    layer = f"blk.{prefix.rpartition('.')[2]}"
    kind = "bias" if name.endswith("_bias") else "weight"
    in_turns = arch == gguf.MODEL_ARCH.GPT_OSS
    if in_turns and kind == "weight":
        parameter = parameter.transpose(1, 2)
    if "down_proj" in name:
        return [(f"{layer}.ffn_down_exps.{kind}", parameter)]
    gate, up = (parameter[:, ::2], parameter[:, 1::2]) if in_turns else parameter.chunk(2, dim=1)
    return [(f"{layer}.ffn_gate_exps.{kind}", gate), (f"{layer}.ffn_up_exps.{kind}", up)]


def _changes(theirs: str, arch: gguf.MODEL_ARCH, config: Any) -> tuple[Change, Change]:
    """The change that llama.cpp's converter makes to a tensor, and its inverse."""
    if ("GEMMA" in arch.name or arch.name == "NEMOTRON") and theirs.endswith("norm.weight"):
        return (lambda values: values + 1), (lambda values: values - 1)
    if arch in _TURNED and (".attn_q." in theirs or ".attn_k." in theirs):
        heads = config.num_attention_heads if "attn_q" in theirs else config.num_key_value_heads
        return partial(_permuted, heads=heads), partial(_unpermuted, heads=heads)
    return (lambda values: values), (lambda values: values)


def _write_config(writer: GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    is_oss, rope = config.model_type == "gpt_oss", config.rope_parameters
    is_local = is_oss or config.model_type == "mixtral"
    _write_scaling(writer, rope)
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    for name, add in (
        ("layer_norm_eps", writer.add_layer_norm_eps),
        ("norm_eps", writer.add_layer_norm_eps),
        ("norm_epsilon", writer.add_layer_norm_eps),
        ("attention_multiplier", writer.add_attention_scale),
        ("embedding_multiplier", writer.add_embedding_scale),
        ("residual_multiplier", writer.add_residual_scale),
        ("logits_scaling", writer.add_logit_scale),
        ("sliding_window", writer.add_sliding_window),
        ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
        ("final_logit_softcapping", writer.add_final_logit_softcapping),
        ("logit_scale", writer.add_logit_scale),
        ("num_local_experts" if is_local else "num_experts", writer.add_expert_count),
        ("num_experts_per_tok", writer.add_expert_used_count),
        ("shared_expert_intermediate_size", writer.add_expert_shared_feed_forward_length),
        (
            "intermediate_size" if is_oss else "moe_intermediate_size",
            writer.add_expert_feed_forward_length,
        ),
    ):
        if getattr(config, name, None) is not None:
            add(getattr(config, name))
    head_dim = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    share = rope.get("partial_rotary_factor") or 1.0
    writer.add_rope_dimension_count(int(head_dim * share))


def _write_scaling(writer: GGUFWriter, rope: dict[str, Any]) -> None:
    kinds = {"linear": gguf.RopeScalingType.LINEAR, "yarn": gguf.RopeScalingType.YARN}
    if rope.get("rope_type") in kinds:
        writer.add_rope_scaling_type(kinds[rope["rope_type"]])
        writer.add_rope_scaling_factor(rope["factor"])
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def encoded(
    values: np.ndarray[Any, Any], type: str, generator: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Quantised where the library does that; otherwise any blocks of the type."""
    try:
        return quants.quantize(values, GGMLQuantizationType[type])
    except NotImplementedError:
        return _random_blocks(type, values.shape, generator)


def _permuted(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of a query or key in the order that llama.cpp's converter writes (``permute``)."""
    shape = values.shape
    return values.reshape(heads, 2, -1, *shape[1:]).swapaxes(1, 2).reshape(shape)


def _unpermuted(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    shape = values.shape
    return values.reshape(heads, -1, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
