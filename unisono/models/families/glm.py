"""GLM-4 9B (Team GLM, 2024), GLM-4-0414, 4.5, 4.6 and 4.7 (Z.ai, 2025), and models of the same
shape as the last three: dots.llm1, Solar Open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unisono.models.checkpoint.splits import GATE_UP, Split
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import corrected_experts, later_layers
from unisono.models.layers.residual import SandwichLayer
from unisono.models.raw_config import RawConfig

_NUM_DRAFT_LAYERS = 1
"""Layers behind the last, in every checkpoint with experts; they are left out."""


class Glm(Decoder):
    """Half of each head rotates, neighbouring dimensions together."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=2,
            head_dim=128,
            max_position_embeddings=131_072,
            rms_norm_eps=1.5625e-07,
            partial_rotary_factor=0.5,
        )
        return raw.dense_decoder(qkv_bias=raw.flag("attention_bias", True), interleaved=True)

    def stored_splits(self) -> Sequence[Split]:
        return (GATE_UP,)


class Glm4(Glm):
    """Norms around each branch."""

    renamed = (
        (".post_attention_layernorm.", ".pre_feedforward_layernorm."),
        (".post_self_attn_layernorm.", ".post_attention_layernorm."),
        (".post_mlp_layernorm.", ".post_feedforward_layernorm."),
    )
    layer_class = SandwichLayer


class Glm4Moe(Decoder):
    """Experts as DeepSeek-V3 has them."""

    renamed = ((".shared_experts.", ".shared_expert."),)

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            rms_norm_eps=1e-5,
            max_position_embeddings=131_072,
            partial_rotary_factor=0.5,
            moe_intermediate_size=1408,
            n_routed_experts=128,
            n_shared_experts=1,
            num_experts_per_tok=8,
            first_k_dense_replace=1,
        )
        return _read(
            raw,
            qkv_bias=raw.flag("attention_bias", False),
            qk_norm="head" if raw.flag("use_qk_norm", False) else None,
        )


class Dots1(Glm4Moe):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(moe_intermediate_size=1408, norm_topk_prob=False)
        if "sliding_window" not in raw.values:
            raw = raw.with_values(sliding_window=4096)
        windows = raw.windows(raw.integer("max_window_layers", 62, least=0))
        return _read(raw, **raw.attention_biases(), qk_norm="head", windows=windows)


class SolarOpen(Glm4Moe):
    """Every layer has experts."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            rms_norm_eps=1e-5,
            max_position_embeddings=131_072,
            rope_theta=1e6,
            head_dim=128,
            moe_intermediate_size=1280,
            n_routed_experts=128,
            n_shared_experts=1,
            num_experts_per_tok=8,
        ).with_values(first_k_dense_replace=0)
        raw = raw.with_defaults(intermediate_size=raw.integer("moe_intermediate_size"))
        return _read(raw, qkv_bias=raw.flag("attention_bias", False))


def _read(raw: RawConfig, **family: Any) -> ModelConfig:
    experts = corrected_experts(
        raw,
        layers=later_layers(raw),
        count=("n_routed_experts", "num_experts"),
        shared="n_shared_experts",
    )
    return raw.dense_decoder(experts=experts, num_draft_layers=_NUM_DRAFT_LAYERS, **family)
