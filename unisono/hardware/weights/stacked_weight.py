"""Weights of one width, one below the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from unisono.hardware.weights.held_weight import HeldWeight
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.reordered_weight import ReorderedWeight


@dataclass(frozen=True, slots=True)
class StackedWeight(HeldWeight):
    """Weights each in a form of its own."""

    parts: tuple[Any, ...]
    """Held weights, or what a hardware packed them as."""

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)

    @property
    def unit_size(self) -> int:
        return max(part.unit_size for part in self.parts)

    def slices(self) -> list[tuple[int, int]]:
        """The rows of each part."""
        stops = list(accumulate(part.shape[0] for part in self.parts))
        return list(pairwise([0, *stops]))

    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return torch.cat([part.rows(*ends, dtype) for part, ends in self._within(start, stop)])

    def narrow(self, dim: int, start: int, length: int) -> HeldWeight:
        if dim == 1:
            return StackedWeight(tuple(part.narrow(1, start, length) for part in self.parts))
        rows = self._within(start, start + length)
        return join([part.narrow(0, first, last - first) for part, (first, last) in rows])

    def _within(self, start: int, stop: int) -> Iterator[tuple[Any, tuple[int, int]]]:
        """The parts that have some of the rows, and which of their own rows these are."""
        for part, (first, last) in zip(self.parts, self.slices(), strict=True):
            if first < stop and start < last:
                yield part, (max(start, first) - first, min(stop, last) - first)


def join(parts: list[HeldWeight]) -> HeldWeight:
    """One weight of several: of one form where levels of a format allow it."""
    if len(parts) == 1:
        return parts[0]
    reordered = [part for part in parts if isinstance(part, ReorderedWeight)]
    if len(reordered) == len(parts) and all(
        torch.equal(part.order, reordered[0].order) for part in reordered
    ):
        return ReorderedWeight(reordered[0].order, join([part.weight for part in reordered]))
    levels = [part for part in parts if isinstance(part, LevelWeight)]
    if len(levels) == len(parts) and len({part.format for part in levels}) == 1:
        return join_levels(levels)
    flat = (part.parts if isinstance(part, StackedWeight) else (part,) for part in parts)
    return StackedWeight(tuple(each for some in flat for each in some))


def join_levels(parts: list[LevelWeight]) -> LevelWeight:
    """One weight of several in one format."""
    zeros = [part.zeros for part in parts if part.zeros is not None]
    return LevelWeight(
        parts[0].format,
        (sum(part.shape[0] for part in parts), parts[0].shape[1]),
        torch.cat([part.levels for part in parts]),
        torch.cat([part.scales for part in parts]),
        torch.cat(zeros) if zeros else None,
    )
