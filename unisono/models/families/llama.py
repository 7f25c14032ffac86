"""Llama 2 and 3.x (Touvron et al., 2023; Dubey et al., 2024), and checkpoints of the same shape."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["Llama"]


class Llama(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return raw.dense_decoder(**raw.biases())
