"""llama.cpp's names of families, settings and tensors. A new family is a few lines.

Names: ``gguf-py/gguf/constants.py``; what its converter does to tensors: ``convert_hf_to_gguf.py``
(github.com/ggml-org/llama.cpp).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from unisono.core.errors import UnsupportedModelError
from unisono.gguf.files import GgufFile
from unisono.models.checkpoint.gguf.values import Own, read_rope

_ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
_MLP = {
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_EXPERTS = {
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.*.gate_proj",
    "ffn_up_exps": "mlp.experts.*.up_proj",
    "ffn_down_exps": "mlp.experts.*.down_proj",
}
"""The star is the number of an expert: a file has one tensor for all of a layer."""
_SHARED_EXPERT = {
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
_BRANCHES = {**_ATTENTION, **_MLP}
_USUAL = {
    **_BRANCHES,
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_NORMS_BEHIND = {
    **_BRANCHES,
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_NORMS_AROUND = {
    **_NORMS_BEHIND,
    "attn_norm": "input_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
}

_ONE_NORM = {**_BRANCHES, "attn_norm": "input_layernorm"}
_MERGED = {
    **_USUAL,
    "attn_qkv": "self_attn.qkv_proj",
    "ffn_up": "mlp.gate_up_proj",
}

Fields = dict[str, Any]


def _nothing_more(own: Own) -> Fields:
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufFamily:
    """The mapping of an architecture of llama.cpp to a family of ours."""

    model_type: str
    """The family's name in ``config.json``."""
    more: Callable[[Own], Fields] = _nothing_more
    """Fields of ``config.json`` besides those that all families have."""
    layer_parts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(_USUAL))
    """Modules of a layer, by what llama.cpp calls them; or tensors, with ``.weight`` behind."""
    interleaved_heads: bool = False
    """Rows of query and key are in the order of its older rotation: pairs side by side."""
    norms_plus_one: bool = False
    """Weights of norms have 1 added to what the checkpoint had."""


def _llama(own: Own) -> Fields:
    if own.value("expert_count", 0):
        return {"model_type": "mixtral"}
    window = own.value("attention.sliding_window", 0)
    return {"architectures": ["MistralForCausalLM"], "sliding_window": window} if window else {}


def _gpt_oss(own: Own) -> Fields:
    return {
        "sliding_window": own.value("attention.sliding_window"),
        "intermediate_size": own.value("expert_feed_forward_length"),
        "rope_parameters": {**read_rope(own), "truncate": False},
    }


def _qwen2_moe(own: Own) -> Fields:
    return {**_qwen3_moe(own), "norm_topk_prob": False}


def _qwen3_moe(own: Own) -> Fields:
    width = own.value("feed_forward_length", own.value("expert_feed_forward_length"))
    return {"intermediate_size": width, "norm_topk_prob": True}


def _gemma2(own: Own) -> Fields:
    return {**_windows(own), "query_pre_attn_scalar": _score_width(own, layers_of_27b=46)}


def _gemma3(own: Own) -> Fields:
    return {
        **_windows(own),
        "query_pre_attn_scalar": _score_width(own, layers_of_27b=62),
        "rope_local_base_freq": float(own.value("rope.freq_base_swa", 10_000.0)),
    }


def _score_width(own: Own, *, layers_of_27b: int) -> float:
    """Scores are divided by its root. No file states it; llama.cpp knows that the largest model
    takes the share of a head of the width instead of the size of a head."""
    if own.value("block_count") == layers_of_27b:
        return own.value("embedding_length") / own.value("attention.head_count")
    return own.value("attention.key_length")


def _olmo(own: Own) -> Fields:
    if not own.value("attention.sliding_window", 0):
        return {}
    return {**_windows(own), "model_type": "olmo3"}


def _phi3(own: Own) -> Fields:
    if own.has_tensor("rope_factors_long.weight"):
        raise UnsupportedModelError(
            f"{own.metadata.source}: rope scaling 'longrope' is not read from GGUF.",
            hint="Fetch a variant of the model without it, such as that for 4k tokens.",
        )
    return {"sliding_window": own.value("attention.sliding_window", 0) or None}


def _exaone4(own: Own) -> Fields:
    return _windows(own) if own.value("attention.sliding_window", 0) else {"sliding_window": None}


def _windows(own: Own) -> Fields:
    """The window, and which layers have it: each n-th has none, or a list says."""
    key = "attention.sliding_window_pattern"
    fields: Fields = {"sliding_window": own.value("attention.sliding_window")}
    pattern = own.list_or_number(key)
    if isinstance(pattern, list):
        kinds = ["sliding_attention" if windowed else "full_attention" for windowed in pattern]
        return {**fields, "layer_types": kinds}
    return {**fields, "sliding_window_pattern": pattern}


GGUF_FAMILIES = {
    "llama": GgufFamily(
        model_type="llama",
        more=_llama,
        layer_parts={**_USUAL, **_EXPERTS},
        interleaved_heads=True,
    ),
    "qwen2": GgufFamily(model_type="qwen2"),
    "qwen3": GgufFamily(model_type="qwen3"),
    "qwen2moe": GgufFamily(
        model_type="qwen2_moe",
        more=_qwen2_moe,
        layer_parts={**_USUAL, **_EXPERTS, **_SHARED_EXPERT},
    ),
    "qwen3moe": GgufFamily(
        model_type="qwen3_moe",
        more=_qwen3_moe,
        layer_parts={**_USUAL, **_EXPERTS},
    ),
    "gpt-oss": GgufFamily(
        model_type="gpt_oss",
        more=_gpt_oss,
        layer_parts={
            **_ATTENTION,
            **_EXPERTS,
            "attn_norm": "input_layernorm",
            "post_attention_norm": "post_attention_layernorm",
            "attn_sinks.weight": "self_attn.sinks",
        },
    ),
    "gemma": GgufFamily(model_type="gemma", norms_plus_one=True),
    "gemma2": GgufFamily(
        model_type="gemma2",
        more=_gemma2,
        layer_parts=_NORMS_AROUND,
        norms_plus_one=True,
    ),
    "gemma3": GgufFamily(
        model_type="gemma3_text",
        more=_gemma3,
        layer_parts=_NORMS_AROUND,
        norms_plus_one=True,
    ),
    "olmo2": GgufFamily(model_type="olmo2", more=_olmo, layer_parts=_NORMS_BEHIND),
    "phi3": GgufFamily(model_type="phi3", more=_phi3, layer_parts=_MERGED),
    "glm4": GgufFamily(
        model_type="glm4",
        layer_parts={
            **_MERGED,
            "post_attention_norm": "post_self_attn_layernorm",
            "post_ffw_norm": "post_mlp_layernorm",
        },
    ),
    "granite": GgufFamily(model_type="granite", interleaved_heads=True),
    "smollm3": GgufFamily(model_type="smollm3", interleaved_heads=True),
    "arcee": GgufFamily(model_type="arcee", interleaved_heads=True),
    "ernie4_5": GgufFamily(model_type="ernie4_5"),
    "seed_oss": GgufFamily(
        model_type="seed_oss",
        layer_parts={**_ONE_NORM, "post_attention_norm": "post_attention_layernorm"},
    ),
    "starcoder2": GgufFamily(model_type="starcoder2"),
    "nemotron": GgufFamily(model_type="nemotron", norms_plus_one=True),
    "exaone4": GgufFamily(model_type="exaone4", more=_exaone4, layer_parts=_NORMS_BEHIND),
    "command-r": GgufFamily(model_type="cohere", layer_parts=_ONE_NORM),
    "cohere2": GgufFamily(model_type="cohere2", more=_windows),
}


def find_gguf_family(file: GgufFile) -> GgufFamily:
    """The family that ``general.architecture`` names.

    Raises:
        CheckpointError: the file does not say.
        UnsupportedModelError: unknown; the hint lists the known.
    """
    name = file.metadata.required_text("general.architecture")
    if name not in GGUF_FAMILIES:
        raise UnsupportedModelError(
            f"{file.metadata.source} is of architecture {name!r:.60}, which is not read as GGUF.",
            hint=f"Read are: {', '.join(GGUF_FAMILIES)}. Other families: fetch the model as"
            " safetensors.",
        )
    return GGUF_FAMILIES[name]
