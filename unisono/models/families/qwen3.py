"""Qwen3 (Yang et al., 2025): query and key heads are normed."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["Qwen3"]


class Qwen3(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=32, head_dim=128, max_position_embeddings=32_768
        )
        windows = raw.switched_windows()
        return raw.dense_decoder(**raw.attention_biases(), qk_norm="head", windows=windows)
