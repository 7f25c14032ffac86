"""Seed-OSS (ByteDance, 2025): Llama with biases on query, key and value."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["SeedOss"]


class SeedOss(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=8, head_dim=128, max_position_embeddings=524_288
        )
        return raw.dense_decoder(
            qkv_bias=raw.flag("attention_bias", True),
            output_bias=raw.flag("attention_out_bias", False),
            mlp_bias=raw.flag("mlp_bias", False),
        )
