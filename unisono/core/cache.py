"""What a model's layers remember: cache groups, as plain data.

Layers that remember in the same way form a group. All groups of a model have pages of one size and
draw them from one pool, so one memory budget holds them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CacheGroup", "CacheKind", "LayerCache", "group_layers"]

CacheKind = Literal["full", "window", "latent", "state"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCache:
    """What one layer keeps. ``bytes_per_token`` counts keys and values together."""

    kind: CacheKind = "full"
    bytes_per_token: int
    window: int | None = None
    """Number of tokens a query sees, itself included (kind ``window``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheGroup:
    """Layers that share one block table. ``layers`` are indices into the model's layers."""

    kind: CacheKind
    layers: tuple[int, ...]
    window: int | None = None


def group_layers(layers: list[LayerCache]) -> tuple[CacheGroup, ...]:
    """Groups of equal layers, of at most as many layers as the smallest kind has.

    Equal sizes let one page serve any group: page ``b`` of group ``g`` holds the tokens of all of
    that group's layers, and the j-th layer of every group lives in the same buffer.
    """
    kinds: dict[tuple[CacheKind, int | None], list[int]] = {}
    for index, layer in enumerate(layers):
        kinds.setdefault((layer.kind, layer.window), []).append(index)
    size = min(len(members) for members in kinds.values())
    return tuple(
        CacheGroup(kind=kind, window=window, layers=tuple(members[at : at + size]))
        for (kind, window), members in kinds.items()
        for at in range(0, len(members), size)
    )
