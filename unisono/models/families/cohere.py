"""Command R (Cohere, 2024): both branches beside one another, layer norms without a bias. Command
R7B and A (2025) have windows, and their layers that see everything do not rotate."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.residual import ParallelLayer
from unisono.models.raw_config import RawConfig

__all__ = ["Cohere", "Cohere2"]


class Cohere(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(rope_theta=500_000.0)
        return _read(raw)

    def make_layer(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        attention = self.make_attention(ops, config, layer)
        return ParallelLayer(ops, config, attention, self.make_mlp(ops, config, layer))


class Cohere2(Cohere):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(sliding_window=4096, sliding_window_pattern=4)
        config = _read(raw)
        windows = raw.windows(whole_every=raw.integer("sliding_window_pattern"))
        ropes = tuple(None if window is None else config.rope for window in windows)
        return replace(config, windows=windows, layer_ropes=ropes)


def _read(raw: RawConfig) -> ModelConfig:
    raw = raw.with_defaults(tie_word_embeddings=True, max_position_embeddings=8192)
    raw.require(use_qk_norm=False, use_parallel_block=True, use_gated_activation=True)
    bias = raw.flag("attention_bias", False)
    config = raw.dense_decoder(
        norm="layer",
        rms_norm_eps=raw.number("layer_norm_eps", 1e-5),
        qkv_bias=bias,
        output_bias=bias,
        logit_scale=raw.number("logit_scale", 0.0625),
    )
    return replace(config, rope=replace(config.rope, interleaved=True))
