"""The explicit context of one step: what a forward pass needs besides the tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unisono.core.cache import LayerCache
from unisono.hardware.ops.attention import AttentionStep
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.quantized_kv import LayerKV


@dataclass(frozen=True, slots=True)
class StepAdapters:
    """Adapters of a step's tokens."""

    numbers: Tensor
    """int64 [T]; 0: none."""
    version: int
    """Another one whenever adapters have been loaded or removed."""


@dataclass(frozen=True, slots=True)
class StepContext:
    """T tokens of all rows, packed.

    Without a cache a layer attends to this step's tokens alone, and keeps nothing: the tensors that
    it would have written are what it reads, a block for each token, or for each row's state.
    """

    positions: Tensor
    """int64 [T]."""
    kv: list[Any] | None
    """Cache of each layer, as its ``LayerCache`` has it: a tensor, such as keys and values
    [2, blocks, block_size, Hk, D], the same in 8 bits (``QuantizedKV``), or a tuple of several.
    None: there is no cache, and rows are whole sequences (``without_cache``)."""
    attention: list[AttentionStep]
    """Attention step of each layer; layers of one cache group share the object."""
    rope_lengths: Tensor | None = None
    """int64 [T]: the length that each token's sequence is rotated for; None: all 0."""
    adapters: StepAdapters | None = None
    """None: no token has one."""
    shared: dict[str, Any] = field(default_factory=dict)
    """Tensors that a decoder or a layer leaves for later layers of this step."""

    def keys_and_values(self, ops: PortableOps, layer: int, key: Tensor, value: Tensor) -> LayerKV:
        """Write key and value [T, Hk, D] to the layer's cache, and return what attention reads."""
        attention = self.attention[layer]
        if self.kv is None:
            kv: LayerKV = torch.stack((key, value)).unsqueeze(2)
        else:
            kv = self.kv[layer]
            ops.kv_write(kv, key, value, attention.slots)
        if attention.plan is None:
            attention.plan = ops.plan_attention(attention, kv)
        return kv

    def latents(self, ops: PortableOps, layer: int, rows: Tensor, part: int = 0) -> Tensor:
        """Write rows [T, D] to the layer's cache, a ``part`` of it where it has several, and return
        what is read, [blocks, block_size, D]."""
        attention = self.attention[layer]
        if self.kv is None:
            cache = rows.unsqueeze(1)
        else:
            parts = self.kv[layer]
            cache = parts[part] if isinstance(parts, tuple) else parts
            ops.latent_write(cache, rows, attention.slots)
        if attention.plan is None:
            attention.plan = ops.plan_latent_attention(attention, cache)
        return cache

    def states(
        self, ops: PortableOps, layer: int, kept: Callable[[str], LayerCache], x: Tensor
    ) -> list[Tensor]:
        """The tensors [blocks, ...] that a recurrent layer over x goes on from and leaves; ``kept``
        says what they are, given the dtype of x."""
        attention = self.attention[layer]
        if self.kv is None:
            num_rows = len(attention.query_lens)
            states = [
                x.new_empty((num_rows, *tensor.shape), dtype=getattr(torch, tensor.dtype))
                for tensor in kept(str(x.dtype).removeprefix("torch.")).tensors
            ]
        else:
            cache = self.kv[layer]
            states = list(cache) if isinstance(cache, tuple) else [cache]
        if attention.plan is None:
            attention.plan = ops.plan_states(attention, states[0])
        return states
