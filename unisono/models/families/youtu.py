"""Youtu-LLM (Tencent, 2025): latent attention, dense."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.latent import LatentDecoder, read_latent
from unisono.models.raw_config import RawConfig

__all__ = ["Youtu"]


class Youtu(LatentDecoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(max_position_embeddings=131_072, tie_word_embeddings=True)
        return raw.dense_decoder(**read_latent(raw))
