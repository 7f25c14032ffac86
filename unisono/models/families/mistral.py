"""Mistral (Jiang et al., 2023), whose layers see a sliding window where the checkpoint has one, and
Ministral 3 (Mistral AI, 2025) and Mistral 4 (2026), whose queries grow with their position."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unisono.core.errors import CheckpointError
from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL
from unisono.models.config import ModelConfig, RopeConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import grouped_routing, later_layers, read_experts
from unisono.models.families.deepseek import EXPERT_FIELDS, Deepseek, read_deepseek
from unisono.models.layers.attention import Attention, Heads
from unisono.models.layers.latent_attention import LatentAttention
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

_STRENGTH, _LENGTH = "llama_4_scaling_beta", "original_max_position_embeddings"
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    _LENGTH: 16_384,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    _STRENGTH: 0.1,
}


class Mistral(Decoder):
    """Also Ministral 8B, where some layers have a window."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=8, max_position_embeddings=131_072, sliding_window=4096
        )
        return raw.dense_decoder(windows=raw.windows())


class GrowingAttention(Attention):
    """Scores sharpen as the context grows beyond what the model was first trained on."""

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__(ops, config, layer)
        self.rope = config.rope

    def heads(self, qkv: Tensor, rope: Angles | None, step: StepContext) -> Heads:
        query, key, value = super().heads(qkv, rope, step)
        return query * _growth_by(self.rope, step.positions).to(query.dtype), key, value


class Ministral3(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=8,
            head_dim=128,
            max_position_embeddings=262_144,
            rms_norm_eps=1e-5,
        )
        return _growing(_with_yarn(raw).dense_decoder(windows=raw.windows()), raw)

    def make_attention(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        kind = GrowingAttention if _STRENGTH in config.rope.scaling else Attention
        return kind(ops, config, layer)


class Mistral3(Ministral3):
    """The text of Mistral Small 3.1 and later, and of Ministral 3, behind a vision tower."""

    renamed = TEXT_OF_MULTIMODAL.renamed
    ignored = TEXT_OF_MULTIMODAL.ignored

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        text = raw.text()
        if text.get("model_type", "mistral") == "mistral":
            return _not_growing(Mistral.read_config(text))
        text.require(model_type="ministral3")
        return Ministral3.read_config(text)


class GrowingLatentAttention(LatentAttention):
    """Scores sharpen as the context grows beyond what the model was first trained on."""

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__(ops, config, layer)
        self.rope = config.rope

    def placed(self, query: Tensor, positions: Tensor) -> Tensor:
        return query * _growth_by(self.rope, positions).to(query.dtype)


class Mistral4(Deepseek):
    """Alone, or behind a vision tower."""

    renamed = (*TEXT_OF_MULTIMODAL.renamed, *Deepseek.renamed)
    ignored = TEXT_OF_MULTIMODAL.ignored
    attention_class = GrowingLatentAttention

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.text().with_defaults(
            max_position_embeddings=1_048_576, n_shared_experts=1, num_experts_per_tok=4
        )
        raw = _with_yarn(
            raw, rope_theta=10_000.0, factor=128.0, original_max_position_embeddings=8192
        )
        routing, layers = grouped_routing(raw), later_layers(raw)
        experts = read_experts(raw, routing, layers=layers, **EXPERT_FIELDS)
        return _growing(read_deepseek(_with_own_rope(raw), experts), raw)


def _with_own_rope(raw: RawConfig) -> RawConfig:
    """The same without the share of the whole head that its rotation states beside
    qk_rope_head_dim, in dimensions.

    Raises:
        CheckpointError: the share of the head is not so many dimensions.
    """
    rope = dict(raw.mapping("rope_parameters"))
    share = RawConfig(rope, f"{raw.source}: rope").get("partial_rotary_factor")
    rope.pop("partial_rotary_factor", None)
    rotated_dim = raw.integer("qk_rope_head_dim")
    head_dim = raw.integer("qk_nope_head_dim") + rotated_dim
    if share is not None and int(head_dim * share) != rotated_dim:
        raise CheckpointError(
            f"{raw.source}: rope rotates {share} of {head_dim} dimensions, qk_rope_head_dim says"
            f" {rotated_dim}."
        )
    return raw.with_values(rope_parameters=rope)


def _with_yarn(raw: RawConfig, **own: Any) -> RawConfig:
    """The same with the rotation of Ministral 3, in which a family's ``own`` numbers stand, where
    the file states none."""
    if raw.mapping("rope_parameters"):
        return raw
    longest = raw.integer("max_position_embeddings")
    rope = {**_YARN, **own, "max_position_embeddings": longest}
    return raw.with_values(rope_parameters=rope)


def _not_growing(config: ModelConfig) -> ModelConfig:
    """The same without a word on growth in its rotation: queries of Mistral never grow."""
    scaling = {name: value for name, value in config.rope.scaling.items() if name != _STRENGTH}
    return replace(config, rope=replace(config.rope, scaling=scaling))


def _growing(config: ModelConfig, raw: RawConfig) -> ModelConfig:
    """The same, its rotation checked: it says how queries grow.

    Raises:
        CheckpointError: strength or length is missing, or no positive number.
    """
    rope = RawConfig(config.rope.scaling, f"{raw.source}: rope")
    rope.number(_STRENGTH)
    rope.integer(_LENGTH)
    return config


def _growth_by(rope: RopeConfig, positions: Tensor) -> Tensor:
    """Factor of queries at ``positions`` [T], as the rotation states it, [T, 1, 1]."""
    return query_growth(positions, rope.scaling[_STRENGTH], rope.scaling[_LENGTH])


def query_growth(positions: Tensor, strength: float, length: int) -> Tensor:
    """Factor of queries at ``positions`` [T], 1 + strength log(1 + floor(position / length)),
    [T, 1, 1] (Nakanishi, 2025, scalable softmax). ``length`` is in tokens."""
    times = torch.floor(positions / length)
    return (1 + strength * torch.log1p(times)).view(-1, 1, 1)
