"""HyperCLOVA X SEED Think (NAVER, 2025): Granite's multipliers, with norms around each branch."""

from __future__ import annotations

from dataclasses import replace

from unisono.models.config import ModelConfig
from unisono.models.families.granite import Granite
from unisono.models.layers.residual import SandwichLayer
from unisono.models.raw_config import RawConfig

__all__ = ["HyperClovaX"]


class HyperClovaX(Granite):
    renamed = (
        (".post_attention_layernorm.", ".pre_feedforward_layernorm."),
        (".post_norm1.", ".post_attention_layernorm."),
        (".post_norm2.", ".post_feedforward_layernorm."),
    )
    layer_class = SandwichLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(use_post_norm=True)
        config = super().read_config(raw)
        return replace(
            config,
            attention_scale=raw.number("attention_multiplier", config.head_dim**-0.5),
            logit_scale=raw.number("logits_scaling", 1.0),  # Granite divides by it
        )
