"""HyperCLOVA X SEED Think (NAVER, 2025): Granite's multipliers, with norms around each branch."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.config import ModelConfig
from unisono.models.families.granite import Granite
from unisono.models.layers.residual import SandwichLayer
from unisono.models.raw_config import RawConfig

__all__ = ["HyperClovaX"]


class HyperClovaX(Granite):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(use_post_norm=True)
        config = super().read_config(raw)
        return replace(
            config,
            attention_scale=raw.number("attention_multiplier", config.head_dim**-0.5),
            logit_scale=raw.number("logits_scaling", 1.0),  # Granite divides by it
        )

    def checkpoint_names(self) -> CheckpointNames:
        renamed = (
            (".post_attention_layernorm.", ".pre_feedforward_layernorm."),
            (".post_norm1.", ".post_attention_layernorm."),
            (".post_norm2.", ".post_feedforward_layernorm."),
        )
        return CheckpointNames(renamed=renamed)

    def make_layer(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        attention = self.make_attention(ops, config, layer)
        return SandwichLayer(ops, config, attention, self.make_mlp(ops, config, layer))
