"""Qwen3-Next (Qwen team, 2025), and Qwen3.5 and its successors of the same kind (2026): linear
attention in most layers, gated attention in the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unisono.core.errors import CheckpointError
from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL
from unisono.models.checkpoint.splits import MergedRows, Split
from unisono.models.config import ModelConfig
from unisono.models.expert_config import read_experts, read_routing, stepped_layers
from unisono.models.expert_shape import ExpertShape
from unisono.models.hybrid import HybridConfig, HybridDecoder, read_recurrent
from unisono.models.layers.attention import HEAD_SPLITS, Attention
from unisono.models.layers.gated_delta_net import DeltaNetShape, GatedDeltaNet
from unisono.models.layers.linear import Linear
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext


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
        return _read_hybrid(raw, _read_experts(raw, stepped_layers(raw), 512))

    def make_recurrent(self, ops: PortableOps, config: HybridConfig, layer: int) -> nn.Module:
        assert isinstance(config.state, DeltaNetShape)
        eps = config.rms_norm_eps
        return self.delta_net_class(ops, config.state, config.hidden_size, eps, layer)


def _read_hybrid(raw: RawConfig, experts: ExpertShape | None) -> HybridConfig:
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


def _read_experts(
    raw: RawConfig, layers: frozenset[int] | None, default: int
) -> ExpertShape | None:
    """None where the file says that there are none; ``default`` where it says nothing."""
    raw = raw.with_defaults(num_experts=default, num_experts_per_tok=10, moe_intermediate_size=512)
    if not raw.integer("num_experts", least=0):
        return None
    return read_experts(
        raw,
        read_routing(raw, normalized=True),
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


class SplitDeltaNet(GatedDeltaNet):
    """All heads' queries, then all keys, values, gates: nothing is to be ordered."""

    def prepare(self) -> None:
        """Do nothing."""

    @staticmethod
    def qkvz_rows(shape: DeltaNetShape) -> Mapping[str, int]:
        return {**_qkv_rows(shape), "in_proj_z": shape.values}

    @staticmethod
    def ba_rows(shape: DeltaNetShape) -> Mapping[str, int]:
        return {"in_proj_b": shape.num_value_heads, "in_proj_a": shape.num_value_heads}

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sizes = [sum(self.shape.qkv_rows), self.shape.values]
        qkv, gate = torch.split(self.in_proj_qkvz(x).float(), sizes, dim=1)
        b, a = torch.chunk(self.in_proj_ba(x).float(), 2, dim=1)
        return qkv, gate, b, a


def _qkv_rows(shape: DeltaNetShape) -> dict[str, int]:
    """Parts that checkpoints stack in ``in_proj_qkv``, each with its rows."""
    return dict(zip(("in_proj_q", "in_proj_k", "in_proj_v"), shape.qkv_rows, strict=True))


class Qwen35(Qwen3Next):
    """Projections that come apart; of a checkpoint with a vision tower, the language model."""

    renamed = TEXT_OF_MULTIMODAL.renamed
    ignored = (*Qwen3Next.ignored, *TEXT_OF_MULTIMODAL.ignored)
    delta_net_class = SplitDeltaNet

    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        return _read_hybrid(raw.text(), None)

    def stored_splits(self) -> Sequence[Split]:
        assert isinstance(self.config.state, DeltaNetShape)
        merged = MergedRows("in_proj_qkv", _qkv_rows(self.config.state))
        return *super().stored_splits(), merged


class Qwen35Moe(Qwen35):
    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        raw = raw.text().with_defaults(num_experts_per_tok=8)
        raw.require(norm_topk_prob=True)
        experts = _read_experts(raw, None, 256)
        # No layer has an MLP of its own, and the file says no width for one.
        width = raw.integer("moe_intermediate_size", 512)
        return _read_hybrid(raw.with_defaults(intermediate_size=width), experts)
