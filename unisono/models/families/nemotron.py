"""Nemotron 3 and 4, Minitron (NVIDIA, 2024): layer norms with weights around 1, half of each head
rotated, and an MLP that squares a ReLU and has no gate."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.mlp import PlainMLP
from unisono.models.raw_config import RawConfig

__all__ = ["Nemotron"]


class Nemotron(Decoder):
    mlp_class = PlainMLP

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            hidden_act="relu2", max_position_embeddings=4096, partial_rotary_factor=0.5
        )
        return raw.dense_decoder(
            **raw.biases(),
            norm="zero_centred_layer",
            norm_bias=True,
            rms_norm_eps=raw.number("norm_eps", 1e-5),
        )
