"""GLM-4.5, 4.6 and 4.7 (Zhipu, 2025), and models of the same shape: dots.llm1, Solar Open."""

from __future__ import annotations

from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.checkpoint.splits import fused_experts
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import later_layers, read_num_experts, sigmoid_routing
from unisono.models.expert_shape import ExpertShape
from unisono.models.raw_config import RawConfig

__all__ = ["Dots1", "Glm4Moe", "SolarOpen", "corrected_experts"]


class Glm4Moe(Decoder):
    """Layers behind the last predict further tokens, and are left out."""

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
        return raw.dense_decoder(
            qkv_bias=raw.flag("attention_bias", False),
            qk_norm="head" if raw.flag("use_qk_norm", False) else None,
            experts=corrected_experts(raw),
        )

    def checkpoint_names(self) -> CheckpointNames:
        assert self.config.experts is not None
        return CheckpointNames(
            renamed=((".shared_experts.", ".shared_expert."),),
            ignored=(f"model.layers.{self.config.num_layers}.",),
            splits=fused_experts(self.config.experts.num_experts),
        )


class Dots1(Glm4Moe):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(moe_intermediate_size=1408, norm_topk_prob=False)
        if "sliding_window" not in raw.values:
            raw = raw.with_values(sliding_window=4096)
        bias = raw.flag("attention_bias", False)
        first = raw.integer("max_window_layers", 62, least=0)
        return raw.dense_decoder(
            qkv_bias=bias,
            output_bias=bias,
            qk_norm="head",
            windows=raw.windows(first),
            experts=corrected_experts(raw),
        )


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
        return raw.with_defaults(
            intermediate_size=raw.integer("moe_intermediate_size")
        ).dense_decoder(qkv_bias=raw.flag("attention_bias", False), experts=corrected_experts(raw))


def corrected_experts(raw: RawConfig) -> ExpertShape:
    """Experts as DeepSeek-V3 has them."""
    size = raw.integer("moe_intermediate_size")
    return ExpertShape(
        num_experts=read_num_experts(raw, "n_routed_experts", "num_experts"),
        size=size,
        routing=sigmoid_routing(raw),
        layers=later_layers(raw),
        shared_size=size * raw.integer("n_shared_experts", 0, least=0),
        corrected=True,
        router_float32=True,
    )
