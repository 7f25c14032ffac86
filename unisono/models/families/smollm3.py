"""SmolLM3 (Hugging Face, 2025): some layers do not rotate; windows, where there are any, are
theirs."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["SmolLM3"]


class SmolLM3(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=4,
            max_position_embeddings=32_768,
            rope_theta=2_000_000.0,
            tie_word_embeddings=True,
        )
        rotating = raw.rotating_layers()
        windows = _windows(raw, rotating)
        return raw.dense_decoder(**raw.biases(), rotating=rotating, windows=windows)


def _windows(raw: RawConfig, rotating: list[bool]) -> tuple[int | None, ...]:
    if raw.get("layer_types"):
        return raw.windows()
    if not raw.flag("use_sliding_window", False) or raw.get("sliding_window") is None:
        return (None,) * len(rotating)
    window = raw.integer("sliding_window")
    return tuple(None if turns else window for turns in rotating)
