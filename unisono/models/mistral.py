"""Mistral (Jiang et al., 2023): every layer sees a sliding window, where the checkpoint has one."""

from __future__ import annotations

from unisono.models.config import ModelConfig, RawConfig
from unisono.models.decoder import Decoder

__all__ = ["Mistral"]


class Mistral(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return raw.dense_decoder(windows=raw.windows())
