"""HunYuan v1 (Tencent, 2025), dense and with experts, such as Hunyuan-A13B: query and key heads are
normed behind their rotation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from unisono.core.errors import UnsupportedModelError
from unisono.hardware.ops.experts import Routing
from unisono.models.checkpoint.names import Renamed
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_experts
from unisono.models.layers.attention import Attention, Heads
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext


class RotatedThenNormed(Attention):
    def heads(self, qkv: Tensor, rope: Angles | None, step: StepContext) -> Heads:
        assert rope is not None
        assert self.q_norm is not None
        assert self.k_norm is not None
        query, key, value = self.split_heads(qkv)
        query, key = self.rotate_both(query, key, rope, qkv.dtype)
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


class HunYuanMoe(HunYuanDense):
    renamed = (
        *HunYuanDense.renamed,
        (".gate.wg.", ".gate."),
        (".shared_mlp.", ".shared_expert."),
    )

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(use_cla=False, moe_layer_num_skipped=0, use_mixed_mlp_moe=True)
        names = ("num_experts", "moe_topk", "num_shared_expert", "moe_intermediate_size")
        raw = raw.with_values(**{name: _of_each_layer(raw, name) for name in names})
        size = raw.integer("intermediate_size")
        raw.require(moe_intermediate_size=size)
        experts = read_experts(
            raw,
            Routing(num_chosen=raw.integer("moe_topk", 1), normalized=True),
            default=1,
            width="intermediate_size",
            shared_size=size * raw.integer("num_shared_expert", 1),
            router_float32=True,
        )
        return replace(super().read_config(raw), experts=experts)


def _of_each_layer(raw: RawConfig, name: str) -> Any:
    """A number, also where it is stated for every layer.

    Raises:
        UnsupportedModelError: layers differ.
    """
    value = raw.get(name)
    if not isinstance(value, list):
        return value
    if len({str(each) for each in value}) != 1:
        raise UnsupportedModelError(f"{raw.source}: layers of different {name} are not supported.")
    return value[0]
