"""DeepSeek-V2 and -V3 (DeepSeek-AI, 2024) and their kin: latent attention, most with experts, the
latest to chosen tokens alone."""

from __future__ import annotations

from typing import Any, ClassVar

from unisono.core.errors import LayerListError
from unisono.hardware.ops.experts import Routing
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL, Renamed
from unisono.models.config import IndexShape, ModelConfig
from unisono.models.expert_config import (
    corrected_experts,
    later_layers,
    read_experts,
    sparse_layers,
)
from unisono.models.expert_shape import ExpertShape
from unisono.models.latent import LatentDecoder, read_index, read_latent
from unisono.models.layers.sparse_attention import SparseLatentAttention
from unisono.models.raw_config import RawConfig

_MAX_DRAFT_LAYERS = 64
_V3_DEFAULTS: dict[str, Any] = {
    "max_position_embeddings": 4096,
    "first_k_dense_replace": 3,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "routed_scaling_factor": 2.5,
    "n_group": 8,
    "topk_group": 4,
}
EXPERT_FIELDS: dict[str, Any] = {
    "count": ("n_routed_experts", "num_experts", "num_local_experts"),
    "shared": "n_shared_experts",
}
"""Names of fields, for ``read_experts``."""
_GLM_5 = {
    **_V3_DEFAULTS,
    "max_position_embeddings": 202_752,
    "rms_norm_eps": 1e-5,
    "n_group": 1,
    "topk_group": 1,
}
_WORDS = {"F": "full", "S": "shared"}
"""Meaning of the letters of a pattern."""


class Deepseek(LatentDecoder):
    """Layers with an MLP first, then layers with experts."""

    renamed: ClassVar[Renamed] = ((".shared_experts.", ".shared_expert."),)


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
        layers = later_layers(raw)
        experts = read_experts(raw, routing, layers=layers, router_float32=True, **EXPERT_FIELDS)
        return read_deepseek(raw, experts, mlp_bias=raw.flag("mlp_bias", False))


class DeepseekV3(Deepseek):
    """Also Kimi K2."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return _read_corrected(raw.with_defaults(**_V3_DEFAULTS, num_nextn_predict_layers=1))


class DeepseekV32(Deepseek):
    """Every layer chooses."""

    attention_class = SparseLatentAttention

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(**{**_V3_DEFAULTS, "max_position_embeddings": 163_840})
        layers = range(raw.num_layers)
        return _read_corrected(raw, read_index(raw, layers, interleaved=False))


class Glm4MoeLite(Deepseek):
    """GLM-4.7-Flash (Z.ai, 2026)."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            max_position_embeddings=202_752,
            rms_norm_eps=1e-5,
            first_k_dense_replace=1,
            n_shared_experts=1,
            num_experts_per_tok=4,
            routed_scaling_factor=1.8,
        )
        return _read_corrected(raw)


class GlmMoeDsa(Deepseek):
    """Some layers choose, the others see what those chose."""

    attention_class = SparseLatentAttention

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(**_GLM_5)
        return _read_corrected(raw, read_index(raw, choosing_layers(raw), interleaved=True))


class KimiK25(DeepseekV3):
    """Kimi K2.5 (Moonshot AI, 2026), behind a vision tower."""

    renamed = (
        # As transformers writes it, which renames more than the vision tower's.
        ("^language_model.model.blocks.", "model.layers."),
        *TEXT_OF_MULTIMODAL.renamed,
        *DeepseekV3.renamed,
    )
    ignored = (*TEXT_OF_MULTIMODAL.ignored, "mm_projector.", "model.mm_projector.")

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return DeepseekV3.read_config(raw.text())


class Youtu(LatentDecoder):
    """Youtu-LLM (Tencent, 2025), dense."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(max_position_embeddings=131_072, tie_word_embeddings=True)
        return raw.dense_decoder(**read_latent(raw))


def read_deepseek(
    raw: RawConfig, experts: ExpertShape, index: IndexShape | None = None, **family: Any
) -> ModelConfig:
    """The configuration of these families; ``family`` adds further fields.

    Raises:
        UnsupportedModelError: layers with experts take turns with others.
    """
    raw.require(moe_layer_freq=1)
    return raw.dense_decoder(
        **read_latent(raw, index),
        num_draft_layers=raw.integer(
            "num_nextn_predict_layers", 0, least=0, most=_MAX_DRAFT_LAYERS
        ),
        experts=experts,
        **family,
    )


def _read_corrected(raw: RawConfig, index: IndexShape | None = None) -> ModelConfig:
    """DeepSeek-V3's experts; with ``index``, sparse attention.

    Raises:
        UnsupportedModelError: another kind of scores or of choice.
    """
    raw.require(scoring_func="sigmoid", topk_method="noaux_tc")
    return read_deepseek(
        raw, corrected_experts(raw, layers=sparse_layers(raw), **EXPERT_FIELDS), index
    )


def choosing_layers(raw: RawConfig) -> frozenset[int]:
    """By name (``indexer_types``), by letter (``index_topk_pattern``), or each n-th.

    Raises:
        LayerListError: not one word for each layer, or the first layer does not choose.
    """
    pattern = raw.get("index_topk_pattern")
    said = raw.get("indexer_types") or (list(pattern) if isinstance(pattern, str) else pattern)
    if isinstance(said, list):
        said = [_WORDS.get(str(word), word) for word in said]
    kinds = raw.with_values(indexer_types=said).per_layer("indexer_types", "full", "shared")
    if not kinds:
        every = raw.integer("index_topk_freq", 1)
        offset = raw.integer("index_skip_topk_offset", 2, least=0)
        layers = range(raw.num_layers)
        return frozenset(i for i in layers if max(i - offset + 1, 0) % every == 0)
    if kinds[0] != "full":
        raise LayerListError(f"{raw.source}: indexer_types must say full for the first layer.")
    return frozenset(i for i, kind in enumerate(kinds) if kind == "full")
