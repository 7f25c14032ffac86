"""Qwen 1.5, 2 and 2.5 (Yang et al., 2024), dense and with experts: query, key and value have
biases."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_experts, read_routing, stepped_layers
from unisono.models.raw_config import RawConfig


class Qwen2(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(num_key_value_heads=32, max_position_embeddings=32_768)
        return raw.dense_decoder(qkv_bias=True, windows=raw.switched_windows())


class Qwen2Moe(Decoder):
    """A gated expert that every token takes."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            max_position_embeddings=32768, moe_intermediate_size=1408, num_experts_per_tok=4
        )
        experts = read_experts(
            raw,
            read_routing(raw, normalized=False),
            layers=stepped_layers(raw),
            default=60,
            shared_size=raw.integer("shared_expert_intermediate_size", 5632),
            shared_gate=True,
        )
        return raw.dense_decoder(
            qkv_bias=raw.flag("qkv_bias", True), windows=_windows(raw), experts=experts
        )


def _windows(raw: RawConfig) -> tuple[int | None, ...]:
    """Windows by layer; where no layer is named, every other one below ``max_window_layers``."""
    num_layers = raw.num_layers
    if not raw.flag("use_sliding_window", False):
        return (None,) * num_layers
    below = raw.integer("max_window_layers", 28, least=0)
    kinds = [
        "sliding_attention" if i % 2 == 0 and i < below else "full_attention"
        for i in range(num_layers)
    ]
    return raw.with_defaults(layer_types=kinds, sliding_window=4096).windows()
