"""Helium (Kyutai, 2025): Llama that rotates neighbouring dimensions."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["Helium"]


class Helium(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=20,
            head_dim=128,
            max_position_embeddings=4096,
            rms_norm_eps=1e-8,
            rope_theta=100_000.0,
        )
        return raw.dense_decoder(
            norm="float32_rms",
            qkv_bias=raw.flag("attention_bias", False),
            mlp_bias=raw.flag("mlp_bias", False),
            interleaved=True,
        )
