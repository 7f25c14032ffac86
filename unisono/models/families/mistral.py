"""Mistral (Jiang et al., 2023), whose layers see a sliding window where the checkpoint has one, and
Ministral 3 (Mistral AI, 2025), whose queries grow with their position."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL, CheckpointNames
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.attention import Attention
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

__all__ = ["Ministral3", "Mistral", "Mistral3", "query_growth"]


class Mistral(Decoder):
    """Also Ministral 8B, where some layers have a window."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=8, max_position_embeddings=131_072, sliding_window=4096
        )
        return raw.dense_decoder(windows=raw.windows())


@dataclass(frozen=True, kw_only=True, slots=True)
class Ministral3Config(ModelConfig):
    """Queries times 1 + ``beta`` log(1 + floor(position / ``original_positions``))."""

    beta: float
    original_positions: int


_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 16_384,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 262_144,
    "rms_norm_eps": 1e-5,
}


class Ministral3(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(**_DEFAULTS)
        if not raw.mapping("rope_parameters"):
            longest = raw.integer("max_position_embeddings")
            yarn = {**_YARN, "max_position_embeddings": longest}
            raw = raw.with_values(rope_parameters=yarn)
        config = raw.dense_decoder(windows=raw.windows())
        rope = RawConfig(config.rope.scaling, f"{raw.source}: rope")
        return Ministral3Config(
            **{field.name: getattr(config, field.name) for field in fields(config)},
            beta=rope.number("llama_4_scaling_beta"),
            original_positions=rope.integer("original_max_position_embeddings"),
        )

    def make_attention(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        if isinstance(config, Ministral3Config):
            return GrowingAttention(ops, config, layer)
        return Attention(ops, config, layer)


class GrowingAttention(Attention):
    """Scores sharpen as the context grows beyond what the model was first trained on."""

    def __init__(self, ops: PortableOps, config: Ministral3Config, layer: int) -> None:
        super().__init__(ops, config, layer)
        self.beta, self.original_positions = config.beta, config.original_positions

    def heads(
        self, qkv: Tensor, rope: Angles | None, step: StepContext
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().heads(qkv, rope, step)
        growth = query_growth(step.positions, self.beta, self.original_positions)
        return query * growth.to(query.dtype), key, value


class Mistral3(Ministral3):
    """The text of Mistral Small 3.1 and later, and of Ministral 3, behind a vision tower."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        text = raw.text()
        if text.get("model_type", "mistral") == "mistral":
            return Mistral.read_config(text)
        text.require(model_type="ministral3")
        return Ministral3.read_config(text)

    def checkpoint_names(self) -> CheckpointNames:
        return TEXT_OF_MULTIMODAL


def query_growth(positions: Tensor, beta: float, original_positions: int) -> Tensor:
    """1 + beta log(1 + floor(position / original_positions)), [T, 1, 1] (as in Llama 4)."""
    times = torch.floor(positions / original_positions)
    return (1 + beta * torch.log1p(times)).view(-1, 1, 1)
