"""GLM-4 9B (Team GLM, 2024) and GLM-4-0414 (Z.ai, 2025): half of each head rotated, neighbouring
dimensions together; the latter with norms around each branch."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.checkpoint.splits import MergedRows
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.residual import SandwichLayer
from unisono.models.raw_config import RawConfig

__all__ = ["Glm", "Glm4"]

_MERGED = (MergedRows("gate_up_proj", {"gate_proj": 1, "up_proj": 1}),)


class Glm(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=2,
            head_dim=128,
            max_position_embeddings=131_072,
            rms_norm_eps=1.5625e-07,
            partial_rotary_factor=0.5,
        )
        config = raw.dense_decoder(qkv_bias=raw.flag("attention_bias", True))
        return replace(config, rope=replace(config.rope, interleaved=True))

    def checkpoint_names(self) -> CheckpointNames:
        return CheckpointNames(splits=_MERGED)


class Glm4(Glm):
    def checkpoint_names(self) -> CheckpointNames:
        renamed = (
            (".post_attention_layernorm.", ".pre_feedforward_layernorm."),
            (".post_self_attn_layernorm.", ".post_attention_layernorm."),
            (".post_mlp_layernorm.", ".post_feedforward_layernorm."),
        )
        return CheckpointNames(renamed=renamed, splits=_MERGED)

    def make_layer(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        attention = self.make_attention(ops, config, layer)
        return SandwichLayer(ops, config, attention, self.make_mlp(ops, config, layer))
