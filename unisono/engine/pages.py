"""Layout of a model's layer caches in pages: sizes in bytes and tokens, as plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unisono.core.cache import CacheGroup, CacheTensor, LayerCache, group_layers


@dataclass(frozen=True, slots=True)
class PageLayout:
    """Layout of a model's layer caches in pages of ``block_size`` tokens."""

    layers: tuple[LayerCache, ...]
    groups: tuple[CacheGroup, ...]
    block_size: int

    @classmethod
    def of(cls, layers: Sequence[LayerCache], block_size: int) -> PageLayout:
        return cls(tuple(layers), group_layers(list(layers)), block_size)

    @property
    def num_buffers(self) -> int:
        """The j-th layer of every group lives in the j-th of them."""
        return max(len(group.layers) for group in self.groups)

    @property
    def page_bytes(self) -> int:
        """Bytes of a block in one buffer: the same for all, so that it can serve any group."""
        return max(layer.page_bytes(self.block_size) for layer in self.layers)

    @property
    def bytes_per_block(self) -> int:
        return self.num_buffers * self.page_bytes

    def block_shape(self, layer: LayerCache, tensor: CacheTensor) -> tuple[int, ...]:
        """Shape of one block of a tensor: [block_size, *shape], or [*shape] of a state."""
        return tensor.shape if layer.kind == "state" else (self.block_size, *tensor.shape)


def natural_block_size(layers: Sequence[LayerCache], preferred: int) -> int:
    """Tokens in a block: ``preferred``, or what of it divides a chunk, or the multiple of it whose
    keys and values fill a page as large as a state, where layers keep both."""
    preferred = math.gcd(preferred, *(layer.chunk for layer in layers if layer.chunk is not None))
    states = [layer.page_bytes(preferred) for layer in layers if layer.kind == "state"]
    growing = [layer.page_bytes(preferred) for layer in layers if layer.kind != "state"]
    if not states or not growing:
        return preferred
    return preferred * max(1, -(-max(states) // max(growing)))
