"""DeepSeek-V2 and -V3 (DeepSeek-AI, 2024) and their kin: latent attention, experts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unisono.hardware.ops.experts import Routing
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.config import IndexShape, ModelConfig
from unisono.models.expert_config import (
    later_layers,
    read_num_experts,
    sigmoid_routing,
    sparse_layers,
)
from unisono.models.expert_shape import ExpertShape
from unisono.models.latent import LatentDecoder, read_latent
from unisono.models.raw_config import RawConfig

__all__ = [
    "V3_DEFAULTS",
    "Deepseek",
    "DeepseekV2",
    "DeepseekV3",
    "read_corrected",
    "read_deepseek",
]

_MAX_DRAFT_LAYERS = 64
V3_DEFAULTS: dict[str, Any] = {
    "max_position_embeddings": 4096,
    "first_k_dense_replace": 3,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "routed_scaling_factor": 2.5,
    "n_group": 8,
    "topk_group": 4,
}


class Deepseek(LatentDecoder):
    """Layers with an MLP first, then layers with experts."""

    def checkpoint_names(self) -> CheckpointNames:
        """Layers behind the last predict further tokens; they are not loaded."""
        last = self.config.num_layers
        drafts = range(last, last + self.config.num_draft_layers)
        return replace(
            super().checkpoint_names(),
            renamed=((".shared_experts.", ".shared_expert."),),
            ignored=[f"model.layers.{layer}." for layer in drafts],
        )


class DeepseekV2(Deepseek):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(n_shared_experts=2)
        raw.require(norm_topk_prob=False, scoring_func="softmax")
        method = raw.get("topk_method", "greedy")
        if method != "group_limited_greedy":
            raw.require(topk_method="greedy")
        limited = method == "group_limited_greedy"
        routing = Routing(
            num_chosen=raw.integer("num_experts_per_tok"),
            scale=raw.number("routed_scaling_factor", 1.0),
            num_groups=raw.integer("n_group") if limited else 1,
            num_chosen_groups=raw.integer("topk_group") if limited else 1,
            group_score="largest",
        )
        return read_deepseek(
            raw,
            routing,
            layers=later_layers(raw),
            router_float32=True,
            mlp_bias=raw.flag("mlp_bias", False),
        )


class DeepseekV3(Deepseek):
    """Also Kimi K2."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return read_corrected(raw.with_defaults(**V3_DEFAULTS, num_nextn_predict_layers=1))


def read_corrected(raw: RawConfig, index: IndexShape | None = None) -> ModelConfig:
    """DeepSeek-V3's experts; with ``index``, sparse attention.

    Raises:
        UnsupportedModelError: another kind of scores or of choice.
    """
    raw.require(scoring_func="sigmoid", topk_method="noaux_tc")
    return read_deepseek(
        raw,
        sigmoid_routing(raw),
        layers=sparse_layers(raw),
        index=index,
        router_float32=True,
        corrected=True,
    )


def read_deepseek(
    raw: RawConfig,
    routing: Routing,
    *,
    layers: frozenset[int],
    index: IndexShape | None = None,
    mlp_bias: bool = False,
    **own: Any,
) -> ModelConfig:
    """Reads the experts of these families; ``own`` are further fields of ``ExpertShape``.

    Raises:
        UnsupportedModelError: layers with experts take turns with others.
    """
    raw.require(moe_layer_freq=1)
    size = raw.integer("moe_intermediate_size")
    num_drafts = raw.integer("num_nextn_predict_layers", 0, least=0, most=_MAX_DRAFT_LAYERS)
    experts = ExpertShape(
        num_experts=read_num_experts(raw, "n_routed_experts", "num_experts", "num_local_experts"),
        size=size,
        shared_size=size * raw.integer("n_shared_experts", 0, least=0),
        routing=routing,
        layers=layers,
        **own,
    )
    return raw.dense_decoder(
        **read_latent(raw, index),
        mlp_bias=mlp_bias,
        num_draft_layers=num_drafts,
        experts=experts,
    )
