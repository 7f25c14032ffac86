"""Qwen2 and Qwen2.5 (Yang et al., 2024): query, key and value have biases."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["Qwen2"]


class Qwen2(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(num_key_value_heads=32, max_position_embeddings=32_768)
        return raw.dense_decoder(qkv_bias=True, windows=raw.switched_windows())
