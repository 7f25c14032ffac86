"""InternLM 3 (Shanghai AI Laboratory, 2025): Llama with biases of its own choice."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["InternLM3"]


class InternLM3(Decoder):
    """Its own files say ``qkv_bias`` and ``bias``, transformers ``attention_bias`` and
    ``mlp_bias``."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=2,
            head_dim=128,
            max_position_embeddings=32_768,
            rms_norm_eps=1e-5,
        )
        bias = raw.flag("bias", raw.flag("mlp_bias", False))
        return raw.dense_decoder(
            qkv_bias=raw.flag("qkv_bias", raw.flag("attention_bias", False)),
            output_bias=bias,
            mlp_bias=bias,
        )
