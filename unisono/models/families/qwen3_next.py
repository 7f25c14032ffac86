"""Qwen3-Next (Qwen team, 2025): linear attention in most layers, gated attention in the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unisono.core.errors import CheckpointError
from unisono.hardware.ops.experts import Routing
from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import ModelConfig
from unisono.models.expert_config import read_experts, stepped_layers
from unisono.models.expert_shape import ExpertShape
from unisono.models.hybrid import HybridConfig, HybridDecoder, read_recurrent
from unisono.models.layers.attention import HEAD_SPLITS, Attention
from unisono.models.layers.gated_delta_net import DeltaNetShape, GatedDeltaNet
from unisono.models.layers.linear import Linear
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

__all__ = ["Qwen3Next", "read_hybrid", "read_optional_experts"]


class GatedAttention(Attention):
    """Attention whose heads are gated by a second half of their query projection."""

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__(ops, config, layer)
        parts = self.qkv_proj.parts
        self.qkv_proj = Linear(
            ops,
            config.hidden_size,
            {**parts, "q_proj": 2 * parts["q_proj"]},
            split=HEAD_SPLITS,
            bias=config.qkv_bias,
        )

    def forward(self, x: Tensor, rope: Angles | None, step: StepContext) -> Tensor:
        rows = self.qkv_proj.parts
        both, key_value = self.qkv_proj(x).split((rows["q_proj"], 2 * rows["k_proj"]), dim=1)
        query, gate = both.unflatten(1, (self.num_heads, -1)).chunk(2, dim=-1)
        query, key, value = self.heads(torch.cat((query.flatten(1), key_value), 1), rope, step)
        out = self.attend(query, key, value, step)
        return self.o_proj((out * gate.sigmoid()).flatten(1))


class Qwen3Next(HybridDecoder):
    ignored: ClassVar[Sequence[str]] = ("mtp.",)
    attention_class = GatedAttention
    delta_net_class: ClassVar[type[GatedDeltaNet]] = GatedDeltaNet

    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        return read_hybrid(raw, read_optional_experts(raw, stepped_layers(raw), 512))

    def make_recurrent(self, ops: PortableOps, config: HybridConfig, layer: int) -> nn.Module:
        assert isinstance(config.state, DeltaNetShape)
        eps = config.rms_norm_eps
        return self.delta_net_class(ops, config.state, config.hidden_size, eps, layer)


def read_hybrid(raw: RawConfig, experts: ExpertShape | None) -> HybridConfig:
    """Reads the fields that Qwen3-Next and its successors share."""
    raw.require(hidden_act="silu", attn_output_gate=True, mamba_ssm_dtype="float32")
    raw = raw.with_defaults(head_dim=256, partial_rotary_factor=0.25)
    base = raw.dense_decoder(
        **raw.attention_biases(), norm="zero_centred_rms", qk_norm="head", experts=experts
    )
    interval = raw.integer("full_attention_interval", 4)
    by_interval = [(layer + 1) % interval != 0 for layer in range(base.num_layers)]
    recurrent = read_recurrent(raw, ("linear_attention",), by_interval)
    return HybridConfig.extending(base, recurrent=recurrent, state=_delta_net(raw))


def read_optional_experts(
    raw: RawConfig, layers: frozenset[int] | None, default: int
) -> ExpertShape | None:
    """None where the file says that there are none; ``default`` where it says nothing."""
    raw = raw.with_defaults(num_experts=default, moe_intermediate_size=512)
    if not raw.integer("num_experts", least=0):
        return None
    routing = Routing(
        num_chosen=raw.integer("num_experts_per_tok", 10),
        normalized=raw.flag("norm_topk_prob", True),
    )
    return read_experts(
        raw,
        routing,
        layers=layers,
        shared_size=raw.integer("shared_expert_intermediate_size", 512),
        shared_gate=True,
    )


def _delta_net(raw: RawConfig) -> DeltaNetShape:
    shape = DeltaNetShape(
        num_key_heads=raw.integer("linear_num_key_heads", 16),
        num_value_heads=raw.integer("linear_num_value_heads", 32),
        key_dim=raw.integer("linear_key_head_dim", 128),
        value_dim=raw.integer("linear_value_head_dim", 128),
        conv_width=raw.integer("linear_conv_kernel_dim", 4),
    )
    if shape.num_value_heads % shape.num_key_heads:
        raise CheckpointError(
            f"{raw.source}: {shape.num_value_heads} value heads of linear attention do not divide "
            f"by {shape.num_key_heads} key heads."
        )
    return shape
