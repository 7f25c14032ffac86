"""GLM-4.7-Flash (Z.ai, 2026): DeepSeek-V3's layers."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.families.deepseek import Deepseek, read_corrected
from unisono.models.raw_config import RawConfig

__all__ = ["Glm4MoeLite"]


class Glm4MoeLite(Deepseek):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            max_position_embeddings=202_752,
            rms_norm_eps=1e-5,
            first_k_dense_replace=1,
            n_shared_experts=1,
            num_experts_per_tok=4,
            routed_scaling_factor=1.8,
        )
        return read_corrected(raw)
