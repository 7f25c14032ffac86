"""Computes what a record describes, from the record alone, with the ops of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.standard import (
    StandardAttention,
    StandardDecoder,
    StandardEmbedding,
    StandardLayer,
    StandardLinear,
    StandardMLP,
    StandardNorm,
)
from unisono.models import Decoder, StepContext
from unisono.models.layers.described import standard_of

Angles = tuple[Tensor, Tensor]


def records_in(model: Decoder) -> list[tuple[nn.Module, Any]]:
    """All modules that have a record, and their records."""
    found = [(module, standard_of(module)) for module in model.modules()]
    return [(model, model.standard()), *found]


def check_records(model: Decoder, ops: PortableOps, token_ids: Tensor, step: StepContext) -> None:
    """Each record gives what the module gives."""
    angles = model.angles(step)
    for module, record in records_in(model):
        if record is None:
            continue
        run, inputs = RUNS[type(record)], _inputs(module, record, angles, token_ids, step)
        for given in inputs:
            torch.testing.assert_close(run(ops, record, *given), module(*given))


def _inputs(
    module: nn.Module,
    record: Any,
    angles: list[Angles | None],
    token_ids: Tensor,
    step: StepContext,
) -> list[tuple[Any, ...]]:
    if isinstance(record, StandardDecoder):
        return [(token_ids, step)]
    if isinstance(record, StandardEmbedding):
        return [(token_ids % len(record.table),)]
    x, other = torch.randn(2, len(token_ids), _width(record))
    if isinstance(record, StandardAttention):
        return [(x, angles[record.layer], step)]
    if isinstance(record, StandardLayer):
        own = angles[record.attention.layer]
        return [(x, None, own, step), (x, other, own, step)]
    return [(x,)]


def _width(record: Any) -> int:
    """Width of what the module is given."""
    match record:
        case StandardNorm(weight=weight):
            return len(weight)
        case StandardLinear(weight=weight):
            return int(weight.shape[1])
        case StandardMLP():
            return _width(record.gate_up)
        case StandardAttention():
            return _width(record.qkv)
    return _width(record.attention_norm)


def linear(ops: PortableOps, record: StandardLinear, x: Tensor) -> Tensor:
    return ops.linear(x, record.weight, record.bias)


def embedding(ops: PortableOps, record: StandardEmbedding, token_ids: Tensor) -> Tensor:
    return ops.embedding(token_ids, record.table)


def norm(ops: PortableOps, record: StandardNorm, x: Tensor) -> Tensor:
    return ops.rms_norm(x, record.weight, record.eps)


def mlp(ops: PortableOps, record: StandardMLP, x: Tensor) -> Tensor:
    return linear(ops, record.down, ops.silu_mul(linear(ops, record.gate_up, x)))


def attention(
    ops: PortableOps, record: StandardAttention, x: Tensor, angles: Angles, step: StepContext
) -> Tensor:
    counts = record.num_heads, record.num_kv_heads
    query, key, value = ops.rotary_heads(
        linear(ops, record.qkv, x), *counts, angles, record.head_norms
    )
    assert query.shape == (len(x), record.num_heads, record.head_dim)
    kv, own = step.kv[record.layer], step.attention[record.layer]
    ops.kv_write(kv, key, value, own.slots)
    out = ops.attention(query, kv, own, scale=record.scale)
    return linear(ops, record.output, out.flatten(1))


def layer(
    ops: PortableOps,
    record: StandardLayer,
    x: Tensor,
    residual: Tensor | None,
    angles: Angles,
    step: StepContext,
) -> tuple[Tensor, Tensor]:
    stream = x if residual is None else residual + x
    normed = norm(ops, record.attention_norm, stream)
    stream = stream + attention(ops, record.attention, normed, angles, step)
    return mlp(ops, record.mlp, norm(ops, record.mlp_norm, stream)), stream


def decoder(
    ops: PortableOps, record: StandardDecoder, token_ids: Tensor, step: StepContext
) -> Tensor:
    rotation = record.rotation
    angles = cos, sin = rotation.angles(step.positions, step.rope_lengths)
    assert cos.shape == sin.shape == (len(token_ids), rotation.num_pairs)
    if rotation.frequencies is not None:
        turns = step.positions.unsqueeze(1) * rotation.frequencies
        torch.testing.assert_close(cos, turns.cos() * rotation.scale)
        torch.testing.assert_close(sin, turns.sin() * rotation.scale)
    x, residual = embedding(ops, record.embedding, token_ids), None
    for one in record.layers:
        x, residual = layer(ops, one, x, residual, angles, step)
    assert residual is not None
    return norm(ops, record.norm, residual + x)


RUNS: dict[type, Callable[..., Any]] = {
    StandardLinear: linear,
    StandardEmbedding: embedding,
    StandardNorm: norm,
    StandardMLP: mlp,
    StandardAttention: attention,
    StandardLayer: layer,
    StandardDecoder: decoder,
}
