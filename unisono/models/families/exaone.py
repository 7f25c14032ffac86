"""EXAONE 4 (LG AI Research, 2025): norms behind each branch; where layers have windows, the others
do not rotate."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.residual import PostNormLayer
from unisono.models.raw_config import RawConfig

__all__ = ["Exaone4"]


class Exaone4(Decoder):
    layer_class: ClassVar[type[nn.Module]] = PostNormLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        if raw.values.get("sliding_window", ...) is None:  # null, which is not to be the default
            return raw.with_defaults(rms_norm_eps=1e-5).dense_decoder(qk_norm="head")
        raw = raw.with_defaults(rms_norm_eps=1e-5, sliding_window=4096, sliding_window_pattern=4)
        pattern = raw.get("sliding_window_pattern")
        if isinstance(pattern, str):  # "LLLG"
            raw = raw.with_values(sliding_window_pattern=len(pattern))
        windows = raw.windows(whole_every=raw.integer("sliding_window_pattern", 1))
        rotating = [window is not None for window in windows]
        return raw.dense_decoder(qk_norm="head", windows=windows, rotating=rotating)
