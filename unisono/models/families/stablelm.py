"""Stable LM 2 and 3B (Stability AI, 2023): Llama with layer norms and a quarter of each head
rotated."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["StableLm"]


class StableLm(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=32, max_position_embeddings=4096, partial_rotary_factor=0.25
        )
        raw.require(qk_layernorm=False, use_parallel_residual=False)
        return raw.dense_decoder(
            norm="layer",
            norm_bias=True,
            rms_norm_eps=raw.number("layer_norm_eps", 1e-5),
            qkv_bias=raw.flag("use_qkv_bias", False),
        )
