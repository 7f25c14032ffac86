"""Standard modules, described by records: what a hardware may run as one op (``PortableOps.fuse``).

A record says all that a module computes, in terms of the op table; whatever computes more or
something else has no record. Weights are in the hardware's form (``prepare_linear``).
T tokens, H hidden size, D head size; Hq, Hk query and key-value heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor


class LowRankPart(NamedTuple):
    """Two matrices of an adapter, which add x down^T up^T to some outputs of a product."""

    rows: slice
    """The outputs."""
    down: Tensor
    """[r, K]."""
    up: Tensor
    """[N, r]."""


AdapterParts = Mapping[int, Sequence[LowRankPart]]
"""The parts that each adapter has of a product, by its number."""


def no_adapters() -> AdapterParts:
    """The parts of a product without adapters: none."""
    return {}


@dataclass(frozen=True, slots=True, eq=False)
class StandardLinear:
    """``linear(x, weight, bias)``, and what the adapters of a token add to its row. Only a hardware
    whose ops say ``fuses_adapters`` is given tokens that have one (``step.adapters``)."""

    weight: Any
    bias: Tensor | None
    adapters: Callable[[], AdapterParts] = no_adapters
    """The parts of all adapters that are loaded now."""
    addition: Callable[[Tensor, Tensor], Tensor] | None = None
    """(x, y) -> y with what adapters add in this step, if any; it may change y."""


@dataclass(frozen=True, slots=True, eq=False)
class StandardEmbedding:
    """``embedding(token_ids, table)``."""

    table: Any


@dataclass(frozen=True, slots=True, eq=False)
class StandardNorm:
    """``rms_norm(x, weight, eps)``."""

    weight: Tensor
    eps: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StandardMLP:
    """(x [T, H]) -> [T, H]: ``down(silu_mul(gate_up(x)))``."""

    gate_up: StandardLinear
    """Rows of the gate, then those of the up projection."""
    down: StandardLinear


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StandardAttention:
    """(x [T, H], angles, step) -> [T, H]: ``rotary_heads`` of ``qkv(x)``, ``kv_write``,
    ``attention``, ``output``."""

    layer: int
    """Index of its own entries of ``step.kv`` and ``step.attention``."""
    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    """Factor of attention scores."""
    qkv: StandardLinear
    """[(Hq + 2 Hk) * D, H]: rows of the query heads, the key heads, the value heads."""
    output: StandardLinear
    head_norms: tuple[Tensor, Tensor, float] | None
    """Weights [D] of the norms of query heads and key heads, and their eps, as ``rotary_heads``
    takes them."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StandardLayer:
    """(x [T, H], residual, angles, step) -> (branch, residual), both [T, H]: residual + x, its
    norm, attention; the sum of both, its norm, MLP. A residual of None is zero."""

    attention_norm: StandardNorm
    attention: StandardAttention
    mlp_norm: StandardNorm
    mlp: StandardMLP


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rotation:
    """Rotation of heads: ``num_pairs`` pairs of dimensions, half a rotation apart."""

    angles: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
    """(``step.positions``, ``step.rope_lengths``) -> cos and sin, float32 [T, num_pairs]."""
    num_pairs: int
    frequencies: Tensor | None
    """float32 [num_pairs]: angles are positions * frequencies, and cos and sin are multiplied by
    ``scale``. None: they depend on the length of the text, and ``angles`` tells them."""
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StandardDecoder:
    """(token_ids int64 [T], step) -> [T, H]: embedding, layers, and the norm of the last sum."""

    embedding: StandardEmbedding
    layers: tuple[StandardLayer, ...]
    norm: StandardNorm
    rotation: Rotation
    """The same in every layer."""


Standard = StandardDecoder | StandardLayer | StandardAttention | StandardMLP
"""A record offered to ``PortableOps.fuse``. ``step`` is a ``StepContext``."""
