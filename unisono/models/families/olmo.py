"""OLMo 2 (Team OLMo, 2025) and OLMo 3: norms behind each branch, and of query and key whole."""

from __future__ import annotations

from dataclasses import replace

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.residual import PostNormLayer
from unisono.models.raw_config import RawConfig

__all__ = ["Olmo2", "Olmo3"]


class Olmo2(Decoder):
    layer_class = PostNormLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(rms_norm_eps=1e-5)
        biases = raw.attention_biases()
        return raw.dense_decoder(**biases, norm="float32_rms", qk_norm="projection")


class Olmo3(Olmo2):
    """Windows in three layers of four; only layers that see everything scale their rotation."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(sliding_window=4096, rope_theta=500_000.0)
        config = super().read_config(raw)
        windows = raw.windows(whole_every=4)
        whole = raw.rope(config.head_dim, "full_attention")
        local = raw.local_rope(config.head_dim, raw.number("rope_theta"))
        ropes = tuple(whole if window is None else local for window in windows)
        return replace(config, windows=windows, rope=whole, layer_ropes=ropes)
