"""Jais 2 (Inception, 2025): layer norms, biases, and an MLP that squares a ReLU and has no gate."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.mlp import PlainMLP
from unisono.models.raw_config import RawConfig

__all__ = ["Jais2"]


class Jais2(Decoder):
    mlp_class = PlainMLP

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(hidden_act="relu2", max_position_embeddings=8192)
        return raw.dense_decoder(
            **raw.biases(default=True),
            norm="layer",
            norm_bias=True,
            rms_norm_eps=raw.number("layer_norm_eps", 1e-5),
        )
