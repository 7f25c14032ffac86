"""MiniCPM 1 to 4 (Hu et al., 2024), with multipliers that follow depth and width, and MiniCPM3
(OpenBMB, 2024), with latent attention besides."""

from __future__ import annotations

import math
from typing import Any

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.latent import LatentDecoder, read_latent
from unisono.models.raw_config import RawConfig


class MiniCPM(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(tie_word_embeddings=True)
        raw.require(attention_bias=False, sparse_config=None, num_experts=0)
        depth = raw.num_layers**0.5
        width = raw.integer("hidden_size")
        return raw.dense_decoder(
            embedding_scale=raw.number("scale_emb", 1.0),
            residual_scale=raw.number("scale_depth", 1.0) / depth,
            logit_scale=raw.number("dim_model_base", 1.0) / width,
        )


_DEFAULTS: dict[str, Any] = {
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "scale_emb": 12.0,
    "scale_depth": 1.4,
    "dim_model_base": 256,
}


class MiniCPM3(LatentDecoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(**_DEFAULTS)
        hidden_size, num_layers = raw.integer("hidden_size"), raw.num_layers
        value_dim = raw.integer("v_head_dim", hidden_size // raw.integer("num_attention_heads"))
        halves = raw.with_values(rope_interleave=False, v_head_dim=value_dim)
        depth = math.sqrt(num_layers)
        return raw.dense_decoder(
            **read_latent(halves),
            mlp_bias=raw.flag("mlp_bias", False),
            embedding_scale=raw.number("scale_emb"),
            residual_scale=raw.number("scale_depth", depth) / depth,
            logit_scale=raw.number("dim_model_base", hidden_size) / hidden_size,
        )
