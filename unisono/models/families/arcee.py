"""AFM 4.5B (Arcee, 2025): Llama whose MLP squares a ReLU and has no gate."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.mlp import PlainMLP
from unisono.models.raw_config import RawConfig

__all__ = ["Arcee"]


class Arcee(Decoder):
    mlp_class = PlainMLP

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(hidden_act="relu2", max_position_embeddings=4096, rms_norm_eps=1e-5)
        return raw.dense_decoder(**raw.biases())
