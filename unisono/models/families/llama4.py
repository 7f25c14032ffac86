"""Llama 4 (Meta, 2025), its language model: attention within chunks, but for layers that see
everything and do not rotate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unisono.core.cache import LayerCache
from unisono.hardware.ops.attention import AttentionStep
from unisono.hardware.ops.experts import Routing
from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL
from unisono.models.checkpoint.splits import FusedExperts, Split
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_experts
from unisono.models.expert_shape import ExpertShape
from unisono.models.families.mistral import query_growth
from unisono.models.layers.attention import Attention, Heads
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

_CHUNKED = "steps within chunks, by layer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Llama4Config(ModelConfig):
    """A configuration whose ``windows`` are sizes of chunks, in tokens."""

    norm_heads: bool
    """True where rotated queries and keys are normed behind the rotation, without a weight."""
    query_growth: tuple[float, int] | None
    """Strength s and length L in tokens: a query that is not rotated, at position p, is multiplied
    by 1 + s log(1 + floor((p + 1) / L)) (Nakanishi, 2025, scalable softmax)."""


class Llama4Attention(Attention):
    def __init__(self, ops: PortableOps, config: Llama4Config, layer: int) -> None:
        super().__init__(ops, config, layer)
        self.eps = config.rms_norm_eps
        is_rotated = config.ropes[layer] is not None
        self.norms = config.norm_heads and is_rotated
        self.growth = None if is_rotated else config.query_growth

    def forward(self, x: Tensor, rope: Angles | None, step: StepContext) -> Tensor:
        return super().forward(x, rope, replace(step, attention=step.shared[_CHUNKED]))

    def heads(self, qkv: Tensor, rope: Angles | None, step: StepContext) -> Heads:
        query, key, value = super().heads(qkv, rope, step)
        if self.norms:
            ones = torch.ones(self.head_dim, dtype=query.dtype, device=query.device)
            query = self.ops.rms_norm(query, ones, self.eps)
            return query, self.ops.rms_norm(key, ones, self.eps), value
        if self.growth is None:
            return query, key, value
        growth = query_growth(step.positions + 1, *self.growth)
        return (query * growth).to(query.dtype), key, value


class Llama4(Decoder):
    config: Llama4Config
    renamed = (
        *TEXT_OF_MULTIMODAL.renamed,
        (".feed_forward.", ".mlp."),
        (".mlp.router.", ".mlp.gate."),
    )
    ignored = TEXT_OF_MULTIMODAL.ignored
    attention_class = Llama4Attention

    @classmethod
    def read_config(cls, raw: RawConfig) -> Llama4Config:
        raw = raw.text().with_defaults(
            head_dim=128,
            rms_norm_eps=1e-5,
            rope_theta=500_000.0,
            max_position_embeddings=131_072,
        )
        rotating = _rotating_layers(raw)
        growth = raw.number("attn_scale", 0.1), raw.integer("floor_scale", 8192)
        width = raw.integer("intermediate_size_mlp", 16384)
        base = raw.with_values(intermediate_size=width).dense_decoder(
            **raw.attention_biases(),
            interleaved=True,
            rotating=rotating,
            windows=_chunks(raw, rotating),
            experts=_experts(raw),
        )
        return Llama4Config.extending(
            base,
            norm_heads=raw.flag("use_qk_norm", True),
            query_growth=growth if raw.get("attn_temperature_tuning", True) else None,
        )

    def stored_splits(self) -> Sequence[Split]:
        assert self.config.experts is not None
        return (FusedExperts(self.config.experts.num_experts, transposed=True),)

    def layer_caches(self, dtype: torch.dtype) -> list[LayerCache]:
        return [replace(layer, chunk=layer.window) for layer in super().layer_caches(dtype)]

    def prepare_step(self, token_ids: Tensor, x: Tensor, step: StepContext) -> None:
        step.shared[_CHUNKED] = self._chunked(step)

    def _chunked(self, step: StepContext) -> list[AttentionStep]:
        """Attention within chunks, one entry a layer; layers of one cache group share theirs."""
        made: dict[int, AttentionStep] = {}
        for layer, attention in enumerate(step.attention):
            size = self.config.windows[layer]
            if id(attention) not in made:
                made[id(attention)] = attention if size is None else _in_chunks(attention, size)
        return [made[id(attention)] for attention in step.attention]


def _in_chunks(step: AttentionStep, size: int) -> AttentionStep:
    """The same queries, each run of them within one chunk as a row whose context begins with the
    chunk, and so with a block; still without a plan."""
    assert size % step.block_size == 0
    query_lens: list[int] = []
    context_lens: list[int] = []
    block_tables: list[list[int]] = []
    rows = zip(step.query_lens, step.context_lens, step.block_tables, strict=True)
    for num_queries, context, table in rows:
        at = context - num_queries
        while at < context:
            begin = at - at % size
            end = min(context, begin + size)
            query_lens.append(end - at)
            context_lens.append(end - begin)
            block_tables.append(table[begin // step.block_size : -(-end // step.block_size)])
            at = end
    own = AttentionStep(
        query_lens=query_lens,
        context_lens=context_lens,
        block_tables=block_tables,
        slots=step.slots,
        block_size=step.block_size,
    )
    if step.is_decode and step.contexts is not None:
        begins = (step.contexts - 1) // size * size
        own.contexts = step.contexts - begins
        own.tables = step.tables_from(begins // step.block_size, max(map(len, block_tables)))
    return own


def _rotating_layers(raw: RawConfig) -> list[bool]:
    """True for each layer that rotates; the file's list of them may go on beyond the last."""
    named = raw.get("no_rope_layers")
    if isinstance(named, list):
        raw = raw.with_values(no_rope_layers=named[: raw.num_layers])
    return raw.rotating_layers()


def _chunks(raw: RawConfig, rotating: list[bool]) -> tuple[int | None, ...]:
    """Tokens of each layer's chunks; None where it sees everything."""
    size = raw.integer("attention_chunk_size", 8192)
    kinds = raw.per_layer("layer_types", "chunked_attention", "full_attention")
    chunked = [kind == "chunked_attention" for kind in kinds] or rotating
    return tuple(size if is_chunked else None for is_chunked in chunked)


def _experts(raw: RawConfig) -> ExpertShape:
    raw = raw.with_defaults(intermediate_size=8192)
    step = raw.integer("interleave_moe_layer_step", 1)
    named = raw.layer_numbers("moe_layers")
    return read_experts(
        raw,
        Routing(num_chosen=raw.integer("num_experts_per_tok", 1), score="sigmoid"),
        layers=frozenset(range(step - 1, raw.num_layers, step)) if named is None else named,
        count=("num_local_experts",),
        default=16,
        width="intermediate_size",
        shared_size=raw.integer("intermediate_size"),
        weighs_input=True,
    )
