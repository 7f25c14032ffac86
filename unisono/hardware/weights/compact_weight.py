"""Linear weights that are held in fewer bits than they are multiplied in.

``linear`` turns a slice of rows into numbers, multiplies, and goes on to the next, so that a whole
weight in the width of its values is never in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

__all__ = ["CompactWeight", "HeldWeight", "NumberWeight", "ReorderedWeight", "StackedWeight"]

_VALUES_AT_ONCE = 1 << 22


class CompactWeight(ABC):
    """A weight [N, K]."""

    __slots__ = ()

    shape: tuple[int, int]

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Of the format, whatever form a hardware gives it."""

    @abstractmethod
    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """The values of some rows, [stop - start, K]."""

    def slices(self) -> list[tuple[int, int]]:
        """Where slices of rows begin and end whose values are few enough to be in memory."""
        rows, step = self.shape[0], max(1, _VALUES_AT_ONCE // self.shape[1])
        return [(start, min(start + step, rows)) for start in range(0, rows, step)]

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """All values, [N, K]."""
        parts = [self.rows(*ends, dtype) for ends in self.slices()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True, slots=True)
class NumberWeight(CompactWeight):
    """Numbers of any float dtype, as they are: a part among others of fewer bits."""

    numbers: Tensor

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return self.numbers.shape[0], self.numbers.shape[1]

    @property
    def num_bytes(self) -> int:
        return self.numbers.nbytes

    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self.numbers[start:stop].to(dtype)


@dataclass(frozen=True, slots=True)
class StackedWeight:
    """Weights of one width, one below the other, each in a form of its own: as a checkpoint brings
    them, or as a hardware prepared them."""

    parts: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """All values, [N, K]; of weights as a checkpoint brings them."""
        return torch.cat([part.dequantize(dtype) for part in self.parts])

    def slices(self) -> list[tuple[int, int]]:
        """The rows of each part."""
        stops = list(accumulate(part.shape[0] for part in self.parts))
        return list(pairwise([0, *stops]))


@dataclass(frozen=True, slots=True)
class ReorderedWeight:
    """A weight whose columns lie in another order than the inputs, so that groups are together."""

    order: Tensor
    """int64 [K]: the input of each column."""
    weight: Any
    """As a checkpoint brings it, or as a hardware prepared it."""

    @property
    def shape(self) -> tuple[int, int]:
        shape: tuple[int, int] = self.weight.shape
        return shape

    @property
    def num_bytes(self) -> int:
        return int(self.weight.num_bytes) + self.order.nbytes

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """All values, [N, K], by input; of a weight as a checkpoint brings it."""
        values: Tensor = self.weight.dequantize(dtype)
        return values.index_select(1, torch.argsort(self.order))


HeldWeight = CompactWeight | StackedWeight | ReorderedWeight
"""What a checkpoint's quantised weights are handed to a hardware as."""
