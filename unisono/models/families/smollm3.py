"""SmolLM3 (Hugging Face, 2025): some layers do not rotate; windows, where there are any, are
theirs."""

from __future__ import annotations

from dataclasses import replace

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
        bias = raw.flag("attention_bias", False)
        config = raw.dense_decoder(
            qkv_bias=bias, output_bias=bias, mlp_bias=raw.flag("mlp_bias", False)
        )
        rotates = _rotating_layers(raw, config.num_layers)
        ropes = tuple(config.rope if turned else None for turned in rotates)
        return replace(config, windows=_windows(raw, rotates), layer_ropes=ropes)


def _rotating_layers(raw: RawConfig, num_layers: int) -> list[bool]:
    """``no_rope_layers`` has a 1 for each layer that does rotate."""
    flags = raw.per_layer("no_rope_layers", 0, 1)
    if flags:
        return [bool(flag) for flag in flags]
    interval = raw.integer("no_rope_layer_interval", 4)
    return [(layer + 1) % interval != 0 for layer in range(num_layers)]


def _windows(raw: RawConfig, rotates: list[bool]) -> tuple[int | None, ...]:
    if raw.get("layer_types"):
        return raw.windows()
    if not raw.flag("use_sliding_window", False) or raw.get("sliding_window") is None:
        return (None,) * len(rotates)
    window = raw.integer("sliding_window")
    return tuple(None if turned else window for turned in rotates)
