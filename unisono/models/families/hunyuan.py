"""HunYuan v1 dense (Tencent, 2025): query and key heads are normed behind their rotation."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from unisono.models.checkpoint.names import Renamed
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.attention import Attention
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

__all__ = ["HunYuanDense"]


class RotatedThenNormed(Attention):
    def heads(
        self, qkv: Tensor, rope: Angles | None, step: StepContext
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert rope is not None
        assert self.q_norm is not None
        assert self.k_norm is not None
        query, key, value = self.split_heads(qkv)
        query, key = self.rotate_both(query, key, rope)
        return self.q_norm(query), self.k_norm(key), value


class HunYuanDense(Decoder):
    renamed: ClassVar[Renamed] = (
        (".query_layernorm.", ".q_norm."),
        (".key_layernorm.", ".k_norm."),
    )
    attention_class = RotatedThenNormed

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(rms_norm_eps=1e-5)
        raw.require(use_qk_norm=True, use_cla=False)
        config = raw.dense_decoder(**raw.attention_biases(), qk_norm="head")
        if config.rope.kind == "dynamic" and "alpha" in config.rope.scaling:
            # Called dynamic, but its alpha stretches theta once and for all.
            return replace(config, rope=replace(config.rope, kind="ntk_alpha"))
        return config
