"""MiniCPM 1 to 4 (Hu et al., 2024): Llama with multipliers that follow its depth and width."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["MiniCPM"]


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
