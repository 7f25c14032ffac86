"""Granite 3 and 4 without recurrent layers (IBM, 2024), dense and with experts, and HyperCLOVA X
SEED Think (NAVER, 2025): Llama with a multiplier at embedding, scores, branches and logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unisono.hardware.ops.experts import Routing
from unisono.models.checkpoint.splits import GATE_UP, Split
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_experts
from unisono.models.layers.residual import SandwichLayer
from unisono.models.raw_config import RawConfig


class Granite(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return raw.dense_decoder(
            **raw.biases(),
            embedding_scale=raw.number("embedding_multiplier", 1.0),
            attention_scale=raw.number("attention_multiplier", 1.0),
            residual_scale=raw.number("residual_multiplier", 1.0),
            logit_scale=1.0 / raw.number("logits_scaling", 1.0),
        )


class GraniteMoe(Granite):
    """With and without an expert that every token takes."""

    renamed = (
        (".block_sparse_moe.input_linear.", ".mlp.experts.gate_up_proj."),
        (".block_sparse_moe.output_linear.", ".mlp.experts.down_proj."),
        (".block_sparse_moe.router.layer.", ".mlp.gate."),
        (".block_sparse_moe.router.", ".mlp.gate."),
        (".block_sparse_moe.", ".mlp."),
        (".shared_mlp.input_linear.", ".mlp.shared_expert.gate_up_proj."),
        (".shared_mlp.output_linear.", ".mlp.shared_expert.down_proj."),
    )

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        experts = read_experts(
            raw,
            Routing(num_chosen=raw.integer("num_experts_per_tok", 2), normalized=True),
            count=("num_local_experts",),
            default=8,
            width="intermediate_size",
            shared_size=raw.integer("shared_intermediate_size", 0, least=0),
        )
        return replace(super().read_config(raw), experts=experts)

    def stored_splits(self) -> Sequence[Split]:
        return *super().stored_splits(), GATE_UP


class HyperClovaX(Granite):
    """Norms around each branch."""

    renamed = (
        (".post_attention_layernorm.", ".pre_feedforward_layernorm."),
        (".post_norm1.", ".post_attention_layernorm."),
        (".post_norm2.", ".post_feedforward_layernorm."),
    )
    layer_class = SandwichLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(use_post_norm=True)
        config = super().read_config(raw)
        return replace(
            config,
            attention_scale=raw.number("attention_multiplier", config.head_dim**-0.5),
            logit_scale=raw.number("logits_scaling", 1.0),  # Granite divides by it
        )
