"""A family's defaults where ``config.json`` says nothing equal transformers'."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.families import dense, latent, moe
from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.models import RawConfig, find_family
from unisono.models.registry import read_family

_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size"),
    *("num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"),
    *("n_routed_experts", "moe_intermediate_size"),
    *("index_topk", "index_head_dim", "index_n_heads"),
)
_PUBLISHED = {"internlm3": "InternLM3ForCausalLM"}
"""Model type -> class that published files name, where transformers names another."""
_CASES = [*dense.CASES.values(), *latent.CASES.values(), *moe.CASES.values()]
_MODEL_TYPES = sorted(
    {case.model_type for case in _CASES if case.whole and "text_config" not in case.options}
)
_NEEDED: dict[str, dict[str, int]] = {
    "deepseek_v2": {"num_experts_per_tok": 6},
    "dots1": {"n_routed_experts": 128, "num_experts_per_tok": 6, "n_shared_experts": 2},
    "glm4_moe": {"head_dim": 128},
}
"""Fields for which transformers has no value, or none that fits."""


@pytest.mark.parametrize("model_type", _MODEL_TYPES)
def test_defaults(model_type: str) -> None:
    needed = _NEEDED.get(model_type, {})
    said = AutoConfig.for_model(model_type, **needed).to_dict()
    said["architectures"] = [
        _PUBLISHED.get(model_type) or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    ]
    unsaid = {name: said[name] for name in (*_SIZES, *needed) if name in said}
    family = find_family(RawConfig(said))
    assert family.read_config(RawConfig(unsaid)) == family.read_config(RawConfig(said))


@pytest.mark.parametrize(
    ("model_type", "option"),
    [
        ("gemma3_text", {"use_bidirectional_attention": True}),
        ("gemma4_text", {"use_bidirectional_attention": "all"}),
        ("cohere", {"use_qk_norm": True}),
        ("hunyuan_v1_dense", {"use_cla": True}),
        ("stablelm", {"use_parallel_residual": True}),
        ("phi", {"qk_layernorm": True}),
        ("hyperclovax", {"use_post_norm": False}),
        ("apertus", {"hidden_act": "silu"}),
        ("ernie4_5", {"compression_ratio": 2.0}),
    ],
)
def test_options_that_no_family_has_are_refused(model_type: str, option: dict[str, Any]) -> None:
    said = {**AutoConfig.for_model(model_type).to_dict(), **option}
    said["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]]
    family = find_family(RawConfig(said))
    with pytest.raises(UnsupportedModelError, match=next(iter(option))):
        family.read_config(RawConfig(said))


def test_a_damaged_config_names_field_and_next_step() -> None:
    raw = RawConfig({"architectures": ["Qwen3ForCausalLM"], "hidden_size": "wide"})
    with pytest.raises(CheckpointError, match=r"config\.json: .* must be") as caught:
        read_family(raw)
    assert "fetch it again" in caught.value.hint
