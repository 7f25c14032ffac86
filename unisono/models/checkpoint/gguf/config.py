"""The metadata of a GGUF file as ``config.json`` would say it, for the families to read."""

from __future__ import annotations

from typing import Any

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.gguf.files import GgufFile
from unisono.gguf.metadata import Metadata
from unisono.models.checkpoint.gguf.families import GgufFamily
from unisono.models.checkpoint.gguf.values import Own, read_rope
from unisono.models.raw_config import RawConfig

EMBEDDING, HEAD, ROPE_FACTORS = "token_embd.weight", "output.weight", "rope_freqs.weight"

_FIELDS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "layer_norm_eps": "attention.layer_norm_epsilon",
    "norm_eps": "attention.layer_norm_epsilon",
    "norm_epsilon": "attention.layer_norm_epsilon",
    "max_position_embeddings": "context_length",
    "num_experts": "expert_count",
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
    "logit_scale": "logit_scale",
}
"""Keys of the metadata, by the field of ``config.json`` that has the same number; a family reads
the fields that it knows."""
_BIASED = {
    "attention_bias": "attn_q",
    "attention_out_bias": "attn_output",
    "mlp_bias": "ffn_up",
    "use_bias": "attn_q",
}
"""Modules of the first layer, by the field of ``config.json`` that is true where they have a
bias."""


def read_gguf_config(
    file: GgufFile, family: GgufFamily, rope_factors: list[float] | None
) -> RawConfig:
    """The fields that a family reads, from metadata and tensors of a file.

    Args:
        rope_factors: the file's own factors of the rotary wavelengths, one a frequency.

    Raises:
        CheckpointError: a value is missing or of the wrong kind.
        UnsupportedModelError: keys and values have heads of different sizes.
    """
    own = Own(file)
    embedding = file.tensors.get(EMBEDDING)
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(
            f"{file.metadata.source} has no embedding ({EMBEDDING}).",
            hint="It is not a language model, or not all of one.",
        )
    _check_counts(own, file)
    fields = {name: own.value(key) for name, key in _FIELDS.items()}
    fields |= {name: own.has_tensor(f"blk.0.{part}.bias") for name, part in _BIASED.items()}
    fields |= {
        "model_type": family.model_type,
        "vocab_size": embedding.shape[0],
        "tie_word_embeddings": HEAD not in file.tensors,
        "dtype": _dtype(file),
        "eos_token_id": end_token_ids(file.metadata, embedding.shape[0]),
        "rope_parameters": read_rope(own, rope_factors),
    }
    if fields["head_dim"] != own.value("attention.value_length", fields["head_dim"]):
        raise UnsupportedModelError(
            f"{file.metadata.source}: keys and values have heads of different sizes."
        )
    fields |= _partial_rotary(own, fields)
    return RawConfig({**fields, **family.more(own)}, file.metadata.source)


def _check_counts(own: Own, file: GgufFile) -> None:
    """Raises CheckpointError: the file counts other layers or experts than it has tensors of. A
    model of so many is not begun."""
    count = own.value("block_count")
    last = f"blk.{count - 1}." if isinstance(count, int) else "blk."
    if count and not any(name.startswith(last) for name in file.tensors):
        raise CheckpointError(
            f"{file.metadata.source} lacks the last of its {count} layers.",
            hint="The file is damaged or incomplete: fetch it again.",
        )
    experts = own.value("expert_count", 0)
    found = {info.shape[0] for name, info in file.tensors.items() if "_exps." in name}
    if found - {experts}:
        raise CheckpointError(
            f"{file.metadata.source} counts {experts} experts, and has tensors of {min(found)}.",
            hint="The file is damaged: fetch it again.",
        )


def _dtype(file: GgufFile) -> str:
    """The dtype of the model: that of all matrices, or bfloat16 where some are quantised."""
    types = {tensor.type.name for tensor in file.tensors.values() if len(tensor.shape) > 1}
    if types == {"F32"}:
        return "float32"
    return "float16" if types <= {"F32", "F16"} else "bfloat16"


def _partial_rotary(own: Own, fields: dict[str, Any]) -> dict[str, Any]:
    rotated, head_dim = own.value("rope.dimension_count"), fields["head_dim"]
    if head_dim is None and isinstance(fields["num_attention_heads"], int):
        head_dim = (fields["hidden_size"] or 0) // max(1, fields["num_attention_heads"])
    if not rotated or not head_dim or rotated == head_dim:
        return {}
    return {"partial_rotary_factor": rotated / head_dim}


_END_KEYS = ("eos", "eot", "eom")
_CONTROL = 3
_END_TEXTS = frozenset(
    {
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<EOT>"),
        *("<|eom_id|>", "<|end_of_text|>", "<|return|>", "<|call|>", "<｜end▁of▁sentence｜>"),
    }
)
"""Control tokens that end an answer, whatever else the file says; llama.cpp knows them by text."""


def end_token_ids(metadata: Metadata, vocab_size: int) -> list[int]:
    """Ids of the tokens that end an answer, in ascending order."""
    named = [metadata.integer(f"tokenizer.ggml.{key}_token_id") for key in _END_KEYS]
    ids = {each for each in named if each is not None}
    texts = metadata.texts("tokenizer.ggml.tokens") or []
    kinds = metadata.numbers("tokenizer.ggml.token_type") or []
    ids |= {
        index
        for index, (text, kind) in enumerate(zip(texts, kinds, strict=False))
        if kind == _CONTROL and text in _END_TEXTS
    }
    return sorted(each for each in ids if 0 <= each < vocab_size)
