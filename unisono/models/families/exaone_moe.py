"""K-EXAONE (LG AI Research, 2025): EXAONE 4 with experts, and norms before each branch."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.checkpoint.splits import fused_experts
from unisono.models.config import ModelConfig
from unisono.models.expert_config import read_num_experts, sigmoid_routing, sparse_layers
from unisono.models.expert_shape import ExpertShape
from unisono.models.families.exaone import Exaone4
from unisono.models.layers.residual import DecoderLayer
from unisono.models.raw_config import RawConfig

__all__ = ["ExaoneMoe"]


class ExaoneMoe(Exaone4):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            moe_intermediate_size=1024,
            num_experts=64,
            num_experts_per_tok=8,
            num_shared_experts=1,
            routed_scaling_factor=2.5,
            first_k_dense_replace=1,
        )
        size = raw.integer("moe_intermediate_size")
        experts = ExpertShape(
            num_experts=read_num_experts(raw, "num_experts"),
            size=size,
            routing=sigmoid_routing(raw),
            layers=sparse_layers(raw),
            shared_size=size * raw.integer("num_shared_experts", 1, least=0),
            corrected=True,
            router_float32=True,
        )
        return replace(super().read_config(raw), experts=experts)

    def checkpoint_names(self) -> CheckpointNames:
        assert self.config.experts is not None
        return CheckpointNames(
            renamed=(
                (".mlp.e_score_correction_bias", ".mlp.gate.e_score_correction_bias"),
                (".shared_experts.", ".shared_expert."),
            ),
            ignored=("mtp.",),
            splits=fused_experts(self.config.experts.num_experts),
        )

    def make_layer(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        attention = self.make_attention(ops, config, layer)
        return DecoderLayer(ops, config, attention, self.make_mlp(ops, config, layer))
