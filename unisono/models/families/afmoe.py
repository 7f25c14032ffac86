"""Trinity of Arcee (AFMoE, 2025): gated attention that rotates in layers with a window alone, and
norms before and behind each branch."""

from __future__ import annotations

import torch
from torch import Tensor

from unisono.hardware.ops.experts import Routing
from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import later_layers, read_experts
from unisono.models.layers.attention import HEAD_SPLITS, Attention
from unisono.models.layers.linear import Linear
from unisono.models.layers.residual import SandwichLayer
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext


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
        out = self.attend(*self.heads(both[:, :-gate_rows], rope, step), step)
        return self.o_proj(out.flatten(1) * torch.sigmoid(both[:, -gate_rows:]))


class Afmoe(Decoder):
    renamed = (
        (".mlp.router.gate.", ".mlp.gate."),
        (".mlp.expert_bias", ".mlp.gate.e_score_correction_bias"),
        (".shared_experts.", ".shared_expert."),
        (".pre_mlp_layernorm.", ".pre_feedforward_layernorm."),
        (".post_mlp_layernorm.", ".post_feedforward_layernorm."),
    )
    layer_class = SandwichLayer
    attention_class = GatedAttention

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
            num_experts_per_tok=6,
            num_shared_experts=2,
        )
        routing = Routing(
            num_chosen=raw.integer("num_experts_per_tok"),
            score="sigmoid",
            normalized=True,
            scale=raw.number("route_scale", 1.0),
        )
        experts = read_experts(
            raw,
            routing,
            layers=later_layers(raw, "num_dense_layers", 1),
            shared="num_shared_experts",
            corrected=True,
        )
        hidden_size = raw.integer("hidden_size")
        return raw.dense_decoder(
            **raw.attention_biases(),
            qk_norm="head",
            embedding_scale=hidden_size**0.5 if raw.flag("mup_enabled", False) else 1.0,
            **raw.windows_that_rotate(raw.integer("global_attn_every_n_layers", 4)),
            experts=experts,
        )
