"""Granite 3 with experts (IBM, 2024), with and without one that every token takes."""

from __future__ import annotations

from dataclasses import replace

from unisono.hardware.ops.experts import Routing
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.checkpoint.splits import MergedRows, fused_experts
from unisono.models.config import ModelConfig
from unisono.models.expert_config import read_num_experts
from unisono.models.expert_shape import ExpertShape
from unisono.models.families.granite import Granite
from unisono.models.raw_config import RawConfig

__all__ = ["GraniteMoe"]


class GraniteMoe(Granite):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        routing = Routing(num_chosen=raw.integer("num_experts_per_tok", 2), normalized=True)
        experts = ExpertShape(
            num_experts=read_num_experts(raw, "num_local_experts", default=8),
            size=raw.integer("intermediate_size"),
            routing=routing,
            layers=frozenset(range(raw.num_layers)),
            shared_size=raw.integer("shared_intermediate_size", 0, least=0),
        )
        return replace(super().read_config(raw), experts=experts)

    def checkpoint_names(self) -> CheckpointNames:
        experts = self.config.experts
        assert experts is not None
        shared = {"gate_proj": experts.shared_size, "up_proj": experts.shared_size}
        return CheckpointNames(
            renamed=(
                (".block_sparse_moe.input_linear.", ".mlp.experts.gate_up_proj."),
                (".block_sparse_moe.output_linear.", ".mlp.experts.down_proj."),
                (".block_sparse_moe.router.layer.", ".mlp.gate."),
                (".block_sparse_moe.router.", ".mlp.gate."),
                (".block_sparse_moe.", ".mlp."),
                (".shared_mlp.input_linear.", ".mlp.shared_expert.gate_up_proj."),
                (".shared_mlp.output_linear.", ".mlp.shared_expert.down_proj."),
            ),
            splits=(
                *fused_experts(experts.num_experts),
                MergedRows("gate_up_proj", shared),
            ),
        )
