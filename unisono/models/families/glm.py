"""GLM-4 9B (Team GLM, 2024) and GLM-4-0414 (Z.ai, 2025): half of each head rotated, neighbouring
dimensions together; the latter with norms around each branch."""

from __future__ import annotations

from collections.abc import Sequence

from unisono.models.checkpoint.splits import GATE_UP, Split
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.residual import SandwichLayer
from unisono.models.raw_config import RawConfig

__all__ = ["Glm", "Glm4"]


class Glm(Decoder):
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
    renamed = (
        (".post_attention_layernorm.", ".pre_feedforward_layernorm."),
        (".post_self_attn_layernorm.", ".post_attention_layernorm."),
        (".post_mlp_layernorm.", ".post_feedforward_layernorm."),
    )
    layer_class = SandwichLayer
