"""Pages: what a group wrote into its blocks, no other group of the same memory can disturb."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unisono.core import CacheTensor, LayerCache
from unisono.engine.cache_memory import allocate
from unisono.engine.pages import PageLayout, natural_block_size

KV = CacheTensor(planes=2, shape=(2, 8), dtype="float32")
WIDE = CacheTensor(planes=2, shape=(1, 24), dtype="float32")
FULL = LayerCache(tensors=(KV,))
WINDOW = LayerCache(kind="window", window=4, tensors=(WIDE,))
STATE = LayerCache(
    kind="state",
    tensors=(
        CacheTensor(shape=(3, 5), dtype="bfloat16"),
        CacheTensor(shape=(2, 4, 4), dtype="float32"),
    ),
)
CPU = torch.device("cpu")


def tensors(cache: Any) -> tuple[torch.Tensor, ...]:
    return cache if isinstance(cache, tuple) else (cache,)


def of_block(tensor: torch.Tensor, spec: CacheTensor, block: int) -> torch.Tensor:
    return tensor[block] if spec.planes is None else tensor[:, block]


def test_layers_that_are_alike_have_contiguous_tensors() -> None:
    caches = allocate(PageLayout.of([FULL, FULL], 4), 7, CPU)
    assert [tuple(cache.shape) for cache in caches] == [(2, 7, 4, 2, 8)] * 2
    assert all(cache.is_contiguous() for cache in caches)


def test_windows_of_the_same_shape_share_contiguous_buffers() -> None:
    layers = [FULL, LayerCache(kind="window", window=4, tensors=(KV,))]
    one, two = allocate(PageLayout.of(layers, 4), 7, CPU)
    assert one.data_ptr() == two.data_ptr()
    assert one.is_contiguous()


@pytest.mark.parametrize("layers", [[FULL, STATE], [FULL, STATE, WINDOW, STATE, FULL, STATE]])
def test_a_block_of_one_group_is_not_in_the_block_of_another(layers: list[LayerCache]) -> None:
    num_blocks = 6
    layout = PageLayout.of(layers, 4)
    caches = allocate(layout, num_blocks, CPU)
    owner = {b: layout.groups[b % len(layout.groups)] for b in range(num_blocks)}

    def visit(check: bool) -> None:
        for block, group in owner.items():
            for layer in group.layers:
                specs = layers[layer].tensors
                for i, (tensor, spec) in enumerate(zip(tensors(caches[layer]), specs, strict=True)):
                    value = float(1 + block + num_blocks * (layer + len(layers) * i))
                    place = of_block(tensor, spec, block)
                    if check:
                        assert (place == value).all()
                    else:
                        place.fill_(value)

    visit(check=False)
    visit(check=True)


def test_a_page_holds_the_largest_of_all_layers() -> None:
    layout = PageLayout.of([FULL, STATE, FULL], 4)
    assert FULL.page_bytes(4) == 2 * 4 * 16 * 4
    assert STATE.page_bytes(4) == 64 + 128
    assert layout.page_bytes == 512
    assert layout.bytes_per_block == layout.num_buffers * 512 == 512


def test_a_block_fills_a_page_as_large_as_a_state() -> None:
    state = LayerCache(kind="state", tensors=(CacheTensor(shape=(4, 100, 7), dtype="float32"),))
    assert FULL.page_bytes(1) == 128
    assert natural_block_size([FULL, state, state], 16) == 96  # 88 and more hold 11,200 bytes
    assert natural_block_size([FULL, STATE], 16) == 16
    assert natural_block_size([state], 16) == 16
    assert natural_block_size([FULL, WINDOW], 16) == 16


@pytest.mark.parametrize(("chunk", "expected"), [(8192, 32), (48, 16), (15, 1)])
def test_a_chunk_begins_with_a_block(chunk: int, expected: int) -> None:
    chunked = LayerCache(kind="window", window=chunk, chunk=chunk, tensors=(KV,))
    assert natural_block_size([FULL, chunked], 32) == expected
