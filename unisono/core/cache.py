"""The caches of a model's layers, grouped, as plain data.

Layers that remember in the same way form a group. All groups of a model have pages of one size and
draw them from one pool, so one memory budget holds them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

KV_DTYPES = {"auto": None, "int8": "int8", "fp8": "float8_e4m3fn"}
"""Dtypes of a KV cache as users and as torch name them; ``auto`` is the model's dtype."""

CacheKind = Literal["full", "window", "latent", "state"]

_PAGE_ALIGNMENT = 64
_ITEM_BYTES = {
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "int8": 1,
    "uint8": 1,
    "float8_e4m3fn": 1,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheTensor:
    """A tensor of a layer's cache: [blocks, block_size, *shape], or [blocks, *shape] of a state."""

    shape: tuple[int, ...]
    """Shape per token (per sequence where the kind is ``state``)."""
    dtype: str
    """Dtype by torch's name, such as ``bfloat16``."""
    planes: int | None = None
    """A leading dimension of so many, such as 2 for keys and values; None: there is none."""
    most_read: int | None = None
    """Tokens of it that one query reads at most; None: all it sees."""

    @property
    def num_bytes(self) -> int:
        """Bytes per token (or per state)."""
        return (self.planes or 1) * math.prod(self.shape) * _ITEM_BYTES[self.dtype]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCache:
    """The cache of one layer."""

    kind: CacheKind = "full"
    tensors: tuple[CacheTensor, ...]
    window: int | None = None
    """Number of tokens a query sees, itself included (kind ``window``)."""
    chunk: int | None = None
    """Queries see no further back than a multiple of so many tokens; there a block has to begin."""
    scaled: bool = False
    """Keys and values of 8 bits: the second tensor has the scale of each token and head."""

    def quantized(self, dtype: str) -> LayerCache:
        """The same in 8 bits, if it holds the keys and values of heads; else as it is."""
        first = self.tensors[0]
        is_kv = self.kind in ("full", "window") and len(self.tensors) == 1 and first.planes == 2
        if not is_kv or len(first.shape) != 2:
            return self
        scales = CacheTensor(planes=2, shape=first.shape[:1], dtype="float32")
        return replace(self, tensors=(replace(first, dtype=dtype), scales), scaled=True)

    def page_bytes(self, block_size: int) -> int:
        """Bytes of this layer per block; each tensor begins at a multiple of 64 bytes."""
        return sum(self.tensor_bytes(tensor, block_size) for tensor in self.tensors)

    def tensor_bytes(self, tensor: CacheTensor, block_size: int) -> int:
        """Bytes of one tensor per block, with padding."""
        count = 1 if self.kind == "state" else block_size
        return -(-count * tensor.num_bytes // _PAGE_ALIGNMENT) * _PAGE_ALIGNMENT


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheGroup:
    """Layers that share one block table. ``layers`` are indices into the model's layer caches."""

    kind: CacheKind
    layers: tuple[int, ...]
    window: int | None = None


def group_layers(layers: list[LayerCache]) -> tuple[CacheGroup, ...]:
    """Groups of equal layers, of at most as many layers as the smallest kind has.

    Equal sizes let one page serve any group: page ``b`` of group ``g`` holds the tokens of all of
    that group's layers, and the j-th layer of every group lives in the same buffer.
    """
    kinds: dict[LayerCache, list[int]] = {}
    for index, layer in enumerate(layers):
        kinds.setdefault(layer, []).append(index)
    size = min(len(members) for members in kinds.values())
    return tuple(
        CacheGroup(kind=like.kind, window=like.window, layers=tuple(members[at : at + size]))
        for like, members in kinds.items()
        for at in range(0, len(members), size)
    )
