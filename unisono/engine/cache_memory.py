"""The memory of the cache groups: buffers of pages, and each layer's tensors as views of them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from unisono.core.cache import CacheTensor, LayerCache
from unisono.engine.pages import PageLayout
from unisono.hardware.ops.quantized_kv import QuantizedKV


def allocate(pages: PageLayout, num_blocks: int, device: torch.device) -> list[Any]:
    """Each layer's cache, in order: its tensor, or a tuple of them where it has several; keys and
    values of 8 bits are a ``QuantizedKV``.

    A tensor is [blocks, block_size, *shape], with the planes in front, if it has any; that of a
    state has no block_size. Where all layers are alike it is contiguous; else a block's tensors lie
    together, so that whichever group takes the block has all of it, and the blocks of a tensor are
    a page apart.
    """
    alike = len({(layer.kind == "state", layer.tensors) for layer in pages.layers}) == 1
    in_buffer = _planes if alike else _in_pages
    caches: list[Any] = [None] * len(pages.layers)
    for j in range(pages.num_buffers):
        layers = [group.layers[j] for group in pages.groups if j < len(group.layers)]
        for layer, views in zip(layers, in_buffer(pages, layers, num_blocks, device), strict=True):
            caches[layer] = _cache(pages.layers[layer], views)
    return caches


def _planes(
    pages: PageLayout, layers: list[int], num_blocks: int, device: torch.device
) -> list[list[Tensor]]:
    """One buffer, each tensor by itself in it, seen alike by all ``layers``."""
    first = pages.layers[layers[0]]
    tensors = [
        torch.empty(
            (*_lead(tensor), num_blocks, *pages.block_shape(first, tensor)),
            dtype=getattr(torch, tensor.dtype),
            device=device,
        )
        for tensor in first.tensors
    ]
    return [tensors for _ in layers]


def _in_pages(
    pages: PageLayout, layers: list[int], num_blocks: int, device: torch.device
) -> list[list[Tensor]]:
    """One buffer, page by page, seen by each of ``layers`` in its own way."""
    buffer = torch.empty(num_blocks * pages.page_bytes, dtype=torch.uint8, device=device)
    return [_views(pages, buffer, layer, num_blocks) for layer in layers]


def _views(pages: PageLayout, buffer: Tensor, index: int, num_blocks: int) -> list[Tensor]:
    layer, offset, views = pages.layers[index], 0, []
    for tensor in layer.tensors:
        typed = buffer.view(getattr(torch, tensor.dtype))
        shape = pages.block_shape(layer, tensor)
        inner = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
        views.append(
            typed.as_strided(
                (*_lead(tensor), num_blocks, *shape),
                (
                    *(math.prod(shape) for _ in _lead(tensor)),
                    pages.page_bytes // typed.element_size(),
                    *inner,
                ),
                offset // typed.element_size(),
            )
        )
        offset += layer.tensor_bytes(tensor, pages.block_size)
    return views


def _cache(layer: LayerCache, tensors: list[Tensor]) -> Any:
    if layer.scaled:
        return QuantizedKV(*tensors)
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _lead(tensor: CacheTensor) -> tuple[int, ...]:
    return () if tensor.planes is None else (tensor.planes,)
