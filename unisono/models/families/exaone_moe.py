"""K-EXAONE (LG AI Research, 2025): EXAONE 4 with experts, and norms before each branch."""

from __future__ import annotations

from dataclasses import replace

from unisono.models.config import ModelConfig
from unisono.models.expert_config import corrected_experts, sparse_layers
from unisono.models.families.exaone import Exaone4
from unisono.models.layers.residual import DecoderLayer
from unisono.models.raw_config import RawConfig

__all__ = ["ExaoneMoe"]


class ExaoneMoe(Exaone4):
    renamed = (
        (".mlp.e_score_correction_bias", ".mlp.gate.e_score_correction_bias"),
        (".shared_experts.", ".shared_expert."),
    )
    ignored = ("mtp.",)
    layer_class = DecoderLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            moe_intermediate_size=1024,
            num_experts=64,
            num_experts_per_tok=8,
            num_shared_experts=1,
            routed_scaling_factor=2.5,
            first_k_dense_replace=1,
        )
        experts = corrected_experts(raw, layers=sparse_layers(raw), shared="num_shared_experts")
        return replace(super().read_config(raw), experts=experts)
