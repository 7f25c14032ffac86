"""Trinity of Arcee (AFMoE, 2025): gated attention that rotates in layers with a window alone, and
norms before and behind each branch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from unisono.hardware.ops.experts import Routing
from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.checkpoint.splits import fused_experts
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_num_experts
from unisono.models.expert_shape import ExpertShape
from unisono.models.layers.attention import HEAD_SPLITS, Attention
from unisono.models.layers.linear import Linear
from unisono.models.layers.residual import SandwichLayer
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

__all__ = ["Afmoe"]


class Afmoe(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(score_func="sigmoid", route_norm=True, n_group=1, topk_group=1)
        raw = raw.with_defaults(
            head_dim=128,
            rms_norm_eps=1e-5,
            max_position_embeddings=16384,
            sliding_window=1024,
            moe_intermediate_size=1408,
            num_experts=64,
            num_shared_experts=2,
        )
        bias = raw.flag("attention_bias", False)
        hidden_size = raw.integer("hidden_size")
        config = raw.dense_decoder(
            qk_norm="head",
            qkv_bias=bias,
            output_bias=bias,
            embedding_scale=hidden_size**0.5 if raw.flag("mup_enabled", False) else 1.0,
            windows=raw.windows(whole_every=raw.integer("global_attn_every_n_layers", 4)),
            experts=_experts(raw),
        )
        ropes = tuple(None if window is None else config.rope for window in config.windows)
        return replace(config, layer_ropes=ropes)

    def checkpoint_names(self) -> CheckpointNames:
        assert self.config.experts is not None
        return CheckpointNames(
            renamed=(
                (".mlp.router.gate.", ".mlp.gate."),
                (".mlp.expert_bias", ".mlp.gate.e_score_correction_bias"),
                (".shared_experts.", ".shared_expert."),
                (".pre_mlp_layernorm.", ".pre_feedforward_layernorm."),
                (".post_mlp_layernorm.", ".post_feedforward_layernorm."),
            ),
            splits=fused_experts(self.config.experts.num_experts),
        )

    def make_layer(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        attention = GatedAttention(ops, config, layer)
        return SandwichLayer(ops, config, attention, self.make_mlp(ops, config, layer))


class GatedAttention(Attention):
    """Attention whose output is multiplied by sigmoid(x W) before the output projection."""

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__(ops, config, layer)
        parts = self.qkv_proj.parts
        self.qkv_proj = Linear(
            ops,
            config.hidden_size,
            {**parts, "gate_proj": parts["q_proj"]},
            split={**HEAD_SPLITS, "gate_proj": "out"},
            bias=config.qkv_bias,
        )

    def forward(self, x: Tensor, rope: Angles | None, step: StepContext) -> Tensor:
        gate_rows = self.qkv_proj.parts["gate_proj"]
        both = self.qkv_proj(x)
        query, key, value = self.heads(both[:, :-gate_rows], rope, step)
        kv = step.keys_and_values(self.ops, self.layer, key, value)
        out = self.ops.attention(query, kv, step.attention[self.layer], scale=self.scale)
        return self.o_proj(out.flatten(1) * torch.sigmoid(both[:, -gate_rows:]))


def _experts(raw: RawConfig) -> ExpertShape:
    size = raw.integer("moe_intermediate_size")
    first = raw.integer("num_dense_layers", 1, least=0)
    return ExpertShape(
        num_experts=read_num_experts(raw, "num_experts"),
        size=size,
        routing=Routing(
            num_chosen=raw.integer("num_experts_per_tok", 6),
            score="sigmoid",
            normalized=True,
            scale=raw.number("route_scale", 1.0),
        ),
        layers=frozenset(range(first, raw.num_layers)),
        shared_size=size * raw.integer("num_shared_experts", 2, least=0),
        corrected=True,
    )
