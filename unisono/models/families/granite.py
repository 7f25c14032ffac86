"""Granite 3 and 4 dense (IBM, 2024): Llama with a multiplier at embedding, scores, branches and
logits."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["Granite"]


class Granite(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return raw.dense_decoder(
            **raw.biases(),
            embedding_scale=raw.number("embedding_multiplier", 1.0),
            attention_scale=raw.number("attention_multiplier", 1.0),
            residual_scale=raw.number("residual_multiplier", 1.0),
            logit_scale=1.0 / raw.number("logits_scaling", 1.0),
        )
