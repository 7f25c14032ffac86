"""ERNIE 4.5 dense (Baidu, 2025): Llama that rotates neighbouring dimensions."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["Ernie4_5"]


class Ernie4_5(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=2,
            head_dim=128,
            max_position_embeddings=131_072,
            rms_norm_eps=1e-5,
            rope_theta=500_000.0,
            tie_word_embeddings=True,
        )
        raw.require(compression_ratio=1.0)
        return raw.dense_decoder(**raw.biases("use_bias", "use_bias"), interleaved=True)
