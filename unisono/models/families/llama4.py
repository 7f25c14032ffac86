"""Llama 4 (Meta, 2025), its language model: attention within chunks, but for layers that see
everything and do not rotate."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from unisono.core.cache import LayerCache
from unisono.hardware.ops.attention import AttentionStep
from unisono.hardware.ops.experts import Routing
from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL, CheckpointNames
from unisono.models.checkpoint.splits import fused_experts
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_num_experts
from unisono.models.expert_shape import ExpertShape
from unisono.models.layers.attention import Attention
from unisono.models.layers.chunked import in_chunks
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

__all__ = ["Llama4", "Llama4Config"]

_CHUNKED = "steps within chunks, by layer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Llama4Config(ModelConfig):
    """``windows`` are chunks."""

    norm_heads: bool
    """Queries and keys that are rotated are normed behind it, without a weight."""
    query_growth: tuple[float, int] | None
    """Strength s and length L: a query that is not rotated, at position p, grows by
    1 + s log(1 + floor((p + 1) / L)) (Nakanishi, 2025, scalable softmax)."""


class Llama4(Decoder):
    config: Llama4Config

    @classmethod
    def read_config(cls, raw: RawConfig) -> Llama4Config:
        raw = raw.text().with_defaults(
            head_dim=128,
            rms_norm_eps=1e-5,
            rope_theta=500_000.0,
            max_position_embeddings=131_072,
        )
        bias = raw.flag("attention_bias", False)
        rotates = _rotates(raw)
        base = raw.with_values(
            intermediate_size=raw.integer("intermediate_size_mlp", 16384)
        ).dense_decoder(
            qkv_bias=bias, output_bias=bias, windows=_chunks(raw, rotates), experts=_experts(raw)
        )
        rope = replace(base.rope, interleaved=True)
        growth = raw.number("attn_scale", 0.1), raw.integer("floor_scale", 8192)
        shared = {field.name: getattr(base, field.name) for field in fields(base)}
        shared["rope"] = rope
        shared["layer_ropes"] = tuple(rope if turns else None for turns in rotates)
        return Llama4Config(
            **shared,
            norm_heads=raw.flag("use_qk_norm", True),
            query_growth=growth if raw.get("attn_temperature_tuning", True) else None,
        )

    def checkpoint_names(self) -> CheckpointNames:
        assert self.config.experts is not None
        return replace(
            TEXT_OF_MULTIMODAL,
            renamed=(
                *TEXT_OF_MULTIMODAL.renamed,
                (".feed_forward.", ".mlp."),
                (".mlp.router.", ".mlp.gate."),
            ),
            splits=fused_experts(self.config.experts.num_experts, transposed=True),
        )

    def layer_caches(self, dtype: torch.dtype) -> list[LayerCache]:
        return [replace(layer, chunk=layer.window) for layer in super().layer_caches(dtype)]

    def make_attention(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        assert isinstance(config, Llama4Config)
        return Llama4Attention(ops, config, layer)

    def prepare_step(self, token_ids: Tensor, x: Tensor, step: StepContext) -> None:
        step.shared[_CHUNKED] = self._chunked(step)

    def _chunked(self, step: StepContext) -> list[AttentionStep]:
        """One entry a layer; layers of one cache group share theirs."""
        made: dict[int, AttentionStep] = {}
        for layer, attention in enumerate(step.attention):
            size = self.config.windows[layer]
            if id(attention) not in made:
                made[id(attention)] = attention if size is None else in_chunks(attention, size)
        return [made[id(attention)] for attention in step.attention]


class Llama4Attention(Attention):
    def __init__(self, ops: PortableOps, config: Llama4Config, layer: int) -> None:
        super().__init__(ops, config, layer)
        self.eps = config.rms_norm_eps
        is_rotated = config.ropes[layer] is not None
        self.norms = config.norm_heads and is_rotated
        self.growth = None if is_rotated else config.query_growth

    def forward(self, x: Tensor, rope: Angles | None, step: StepContext) -> Tensor:
        return super().forward(x, rope, replace(step, attention=step.shared[_CHUNKED]))

    def heads(
        self, qkv: Tensor, rope: Angles | None, step: StepContext
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().heads(qkv, rope, step)
        if self.norms:
            ones = torch.ones(self.head_dim, dtype=query.dtype, device=query.device)
            query = self.ops.rms_norm(query, ones, self.eps)
            return query, self.ops.rms_norm(key, ones, self.eps), value
        if self.growth is None:
            return query, key, value
        strength, length = self.growth
        steps = torch.floor((step.positions.float() + 1.0) / length)
        scale = torch.log1p(steps) * strength + 1.0
        return (query * scale.view(-1, 1, 1)).to(query.dtype), key, value


def _rotates(raw: RawConfig) -> list[bool]:
    """``no_rope_layers`` has 1 for a layer that rotates; it may go on beyond the last."""
    num_layers, named = raw.num_layers, raw.get("no_rope_layers")
    if isinstance(named, list):
        raw = raw.with_values(no_rope_layers=named[:num_layers])
    flags = raw.per_layer("no_rope_layers", 0, 1)
    if flags:
        return [bool(flag) for flag in flags]
    interval = raw.integer("no_rope_layer_interval", 4)
    return [bool((i + 1) % interval) for i in range(num_layers)]


def _chunks(raw: RawConfig, rotates: list[bool]) -> tuple[int | None, ...]:
    """The size of each layer's chunks; None where it sees everything."""
    size = raw.integer("attention_chunk_size", 8192)
    kinds = raw.per_layer("layer_types", "chunked_attention", "full_attention")
    chunked = [kind == "chunked_attention" for kind in kinds] or rotates
    return tuple(size if is_chunked else None for is_chunked in chunked)


def _experts(raw: RawConfig) -> ExpertShape:
    num_layers, size = raw.num_layers, raw.integer("intermediate_size", 8192)
    step = raw.integer("interleave_moe_layer_step", 1)
    named = raw.layer_numbers("moe_layers")
    return ExpertShape(
        num_experts=read_num_experts(raw, "num_local_experts", default=16),
        size=size,
        routing=Routing(num_chosen=raw.integer("num_experts_per_tok", 1), score="sigmoid"),
        layers=frozenset(range(step - 1, num_layers, step)) if named is None else named,
        shared_size=size,
        weighs_input=True,
    )
