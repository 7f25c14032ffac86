"""The memory of the cache groups: buffers of pages, and each layer's tensors as views of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisono.core.cache import CacheGroup, CacheTensor, LayerCache, group_layers
from unisono.hardware.ops.quantized_kv import QuantizedKV

__all__ = ["PageLayout", "natural_block_size"]


@dataclass(frozen=True, slots=True)
class PageLayout:
    """How a model's layer caches lie in pages of ``block_size`` tokens."""

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
        """Of a block in one buffer: the same for all, so that it can serve any group."""
        return max(layer.page_bytes(self.block_size) for layer in self.layers)

    @property
    def bytes_per_block(self) -> int:
        return self.num_buffers * self.page_bytes

    def allocate(self, num_blocks: int, device: torch.device) -> list[Any]:
        """Each layer's cache, in order: its tensor, or a tuple of them where it has several; keys
        and values of 8 bits are a ``QuantizedKV``.

        A tensor is [blocks, block_size, *shape], with the planes in front, if it has any; that of a
        state has no block_size. Where all layers are alike it is contiguous; else a block's
        tensors lie together, so that whichever group takes the block has all of it, and the blocks
        of a tensor are a page apart.
        """
        alike = len({(layer.kind == "state", layer.tensors) for layer in self.layers}) == 1
        in_buffer = self._planes if alike else self._pages
        caches: list[Any] = [None] * len(self.layers)
        for j in range(self.num_buffers):
            layers = [group.layers[j] for group in self.groups if j < len(group.layers)]
            for layer, views in zip(layers, in_buffer(layers, num_blocks, device), strict=True):
                caches[layer] = _cache(self.layers[layer], views)
        return caches

    def _block_shape(self, layer: LayerCache, tensor: CacheTensor) -> tuple[int, ...]:
        return tensor.shape if layer.kind == "state" else (self.block_size, *tensor.shape)

    def _planes(
        self, layers: list[int], num_blocks: int, device: torch.device
    ) -> list[list[Tensor]]:
        """One buffer, each tensor by itself in it, seen alike by all ``layers``."""
        first = self.layers[layers[0]]
        tensors = [
            torch.empty(
                (*_lead(tensor), num_blocks, *self._block_shape(first, tensor)),
                dtype=getattr(torch, tensor.dtype),
                device=device,
            )
            for tensor in first.tensors
        ]
        return [tensors for _ in layers]

    def _pages(
        self, layers: list[int], num_blocks: int, device: torch.device
    ) -> list[list[Tensor]]:
        """One buffer, page by page, seen by each of ``layers`` in its own way."""
        pages = torch.empty(num_blocks * self.page_bytes, dtype=torch.uint8, device=device)
        return [self._views(pages, layer, num_blocks) for layer in layers]

    def _views(self, pages: Tensor, index: int, num_blocks: int) -> list[Tensor]:
        layer, offset, views = self.layers[index], 0, []
        for tensor in layer.tensors:
            typed = pages.view(getattr(torch, tensor.dtype))
            shape = self._block_shape(layer, tensor)
            inner = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
            views.append(
                typed.as_strided(
                    (*_lead(tensor), num_blocks, *shape),
                    (
                        *(math.prod(shape) for _ in _lead(tensor)),
                        self.page_bytes // typed.element_size(),
                        *inner,
                    ),
                    offset // typed.element_size(),
                )
            )
            offset += layer.tensor_bytes(tensor, self.block_size)
        return views


def natural_block_size(layers: Sequence[LayerCache], preferred: int) -> int:
    """Tokens in a block: ``preferred``, or what of it divides a chunk, or the multiple of it whose
    keys and values fill a page as large as a state, where layers keep both."""
    preferred = math.gcd(preferred, *(layer.chunk for layer in layers if layer.chunk is not None))
    states = [layer.page_bytes(preferred) for layer in layers if layer.kind == "state"]
    growing = [layer.page_bytes(preferred) for layer in layers if layer.kind != "state"]
    if not states or not growing:
        return preferred
    return preferred * max(1, -(-max(states) // max(growing)))


def _cache(layer: LayerCache, tensors: list[Tensor]) -> Any:
    if layer.scaled:
        return QuantizedKV(*tensors)
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _lead(tensor: CacheTensor) -> tuple[int, ...]:
    return () if tensor.planes is None else (tensor.planes,)
