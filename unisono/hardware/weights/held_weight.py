"""Linear weights that are held in fewer bits than they are multiplied in.

``linear`` turns a slice of rows into numbers, multiplies, and goes on to the next, so that a whole
weight in the width of its values is never in memory. Every form can be cut for a rank.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from unisono.core.weight_format import WeightFormat

_VALUES_AT_ONCE = 1 << 22
H = TypeVar("H", bound="HeldWeight")


@dataclass(frozen=True, slots=True)
class CodedFormat:
    """The name of a kind of codes, and its cost."""

    name: str
    bits_per_weight: float
    """With its share of scales."""

    def __str__(self) -> str:
        return self.name


HeldFormat = WeightFormat | CodedFormat
"""Levels, which a device may have products of its own for; or codes, which it looks up."""


class HeldWeight(ABC):
    """A weight [N, K]."""

    __slots__ = ()

    shape: tuple[int, int]
    unit: ClassVar[str] = "groups"
    """Name of consecutive columns that cannot be divided, for messages."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Bytes of the format, whatever form a hardware gives it."""

    @property
    def unit_size(self) -> int:
        """Columns of a unit; 1 where a part may begin and end at any."""
        return 1

    @abstractmethod
    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """The values of some rows, [stop - start, K]."""

    @abstractmethod
    def narrow(self, dim: int, start: int, length: int) -> HeldWeight:
        """Some of its rows (``dim`` 0) or columns (1); columns of whole units. A view where the
        form allows it."""

    def to(self: H, device: torch.device) -> H:
        """The same on a device, contiguous."""
        weight: Any = self
        names = [field.name for field in fields(weight)]
        return replace(weight, **{name: _moved(getattr(weight, name), device) for name in names})

    def slices(self) -> list[tuple[int, int]]:
        """First row and row after the last of each slice whose values fit in memory together."""
        rows, step = self.shape[0], max(1, _VALUES_AT_ONCE // self.shape[1])
        return [(start, min(start + step, rows)) for start in range(0, rows, step)]

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """All values, [N, K]."""
        parts = [self.rows(*ends, dtype) for ends in self.slices()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True, slots=True)
class NumberWeight(HeldWeight):
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

    def narrow(self, dim: int, start: int, length: int) -> NumberWeight:
        return NumberWeight(self.numbers.narrow(dim, start, length))


def _moved(value: Any, device: torch.device) -> Any:
    """A field of a weight, or a part of one, on a device."""
    if isinstance(value, Tensor):
        return value.contiguous().to(device)
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    return value.to(device) if isinstance(value, HeldWeight) else value
