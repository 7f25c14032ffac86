"""Command R (Cohere, 2024): both branches beside one another, layer norms without a bias. Command
R7B and A (2025) have windows, and their layers that see everything do not rotate."""

from __future__ import annotations

from typing import Any

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.residual import ParallelLayer
from unisono.models.raw_config import RawConfig


class Cohere(Decoder):
    layer_class = ParallelLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return _read(raw.with_defaults(rope_theta=500_000.0))


class Cohere2(Cohere):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(sliding_window=4096, sliding_window_pattern=4)
        return _read(raw, **raw.windows_that_rotate(raw.integer("sliding_window_pattern")))


def _read(raw: RawConfig, **family: Any) -> ModelConfig:
    raw = raw.with_defaults(tie_word_embeddings=True, max_position_embeddings=8192)
    raw.require(use_qk_norm=False, use_parallel_block=True, use_gated_activation=True)
    return raw.dense_decoder(
        **raw.attention_biases(),
        norm="layer",
        rms_norm_eps=raw.number("layer_norm_eps", 1e-5),
        logit_scale=raw.number("logit_scale", 0.0625),
        interleaved=True,
        **family,
    )
