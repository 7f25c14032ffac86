"""HunYuan v1 dense (Tencent, 2025): query and key heads are normed behind their rotation."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.attention import Attention
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

__all__ = ["HunYuanDense"]


class HunYuanDense(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(rms_norm_eps=1e-5)
        raw.require(use_qk_norm=True, use_cla=False)
        bias = raw.flag("attention_bias", False)
        config = raw.dense_decoder(qk_norm="head", qkv_bias=bias, output_bias=bias)
        if config.rope.kind == "dynamic" and "alpha" in config.rope.scaling:
            # Called dynamic, but its alpha stretches theta once and for all.
            return replace(config, rope=replace(config.rope, kind="ntk_alpha"))
        return config

    def checkpoint_names(self) -> CheckpointNames:
        renamed = ((".query_layernorm.", ".q_norm."), (".key_layernorm.", ".k_norm."))
        return CheckpointNames(renamed=renamed)

    def make_attention(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        return RotatedThenNormed(ops, config, layer)


class RotatedThenNormed(Attention):
    def before_rope(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return query, key

    def after_rope(self, query: Tensor, key: Tensor, step: StepContext) -> tuple[Tensor, Tensor]:
        return super().before_rope(query, key)
