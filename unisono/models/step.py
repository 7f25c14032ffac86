"""The explicit context of one step: what a forward pass needs besides the tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from unisono.hardware.ops.attention import AttentionStep

__all__ = ["StepContext"]


@dataclass(frozen=True, slots=True)
class StepContext:
    """T tokens of all rows, packed."""

    positions: Tensor
    """int64 [T]."""
    kv: list[Any]
    """Cache of each layer, as its ``LayerCache`` has it: a tensor, such as keys and values
    [2, blocks, block_size, Hk, D], the same in 8 bits (``QuantizedKV``), or a tuple of several."""
    attention: list[AttentionStep]
    """Of each layer; layers of one cache group share the object."""
    rope_lengths: Tensor | None = None
    """int64 [T]: the length that each token's sequence is rotated for; None: all 0."""
    shared: dict[str, Tensor] = field(default_factory=dict)
    """What a layer leaves for later ones of this step."""
