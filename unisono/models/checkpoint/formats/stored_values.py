"""Weights as a checkpoint holds them, before a device: cut for a rank, then put in place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unisono.core.errors import ConfigError
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.coded_weight import CodedFormat, CodedWeight, pack_nibbles
from unisono.hardware.weights.compact_weight import (
    HeldWeight,
    NumberWeight,
    ReorderedWeight,
)
from unisono.hardware.weights.quantized import QuantizedWeight
from unisono.models.parallel import Cut

__all__ = [
    "HeldFormat",
    "StoredCodes",
    "StoredLevels",
    "StoredNumbers",
    "StoredOrdered",
    "StoredWeight",
]

HeldFormat = WeightFormat | CodedFormat
"""Levels, which a device may have products of its own for; or codes, which it looks up."""


class StoredWeight(ABC):
    """A weight [N, K]."""

    __slots__ = ()

    @abstractmethod
    def cut(self, cut: Cut, name: str) -> StoredWeight:
        """A rank's part.

        Raises:
            ConfigError: it begins or ends where the form cannot be divided.
        """

    @abstractmethod
    def hold(self, device: torch.device) -> HeldWeight:
        """The same values as a device's ops take them."""


@dataclass(frozen=True, slots=True)
class StoredLevels(StoredWeight):
    """Integer levels, G groups to a row."""

    format: WeightFormat
    """What a device holds it as: its groups are those of the checkpoint, or divide them."""
    levels: Tensor
    """uint8 [N, K]."""
    scales: Tensor
    """float32 [N, G]; G is 1 where a whole row shares its scale."""
    zeros: Tensor | None
    """uint8 [N, G]; None where the zero is the middle level."""

    @property
    def by_row(self) -> bool:
        return self.scales.shape[1] == 1

    def cut(self, cut: Cut, name: str) -> StoredLevels:
        if cut.dim == 0:
            zeros = None if self.zeros is None else cut.of(self.zeros)
            parts = cut.of(self.levels), cut.of(self.scales), zeros
        elif self.by_row:
            parts = cut.of(self.levels), self.scales, self.zeros
        else:
            groups = self._cut_of_groups(cut, name)
            zeros = None if self.zeros is None else groups.of(self.zeros)
            parts = cut.of(self.levels), groups.of(self.scales), zeros
        return StoredLevels(self.format, *parts)

    def _cut_of_groups(self, cut: Cut, name: str) -> Cut:
        size = self.format.group_size
        if cut.length % size:
            raise ConfigError(
                f"{name} has groups of {size} inputs; {cut.whole // cut.length} ranks would cut"
                " through them.",
                hint=_fewer_ranks(cut, size),
            )
        return replace(cut, start=cut.start // size, length=cut.length // size)

    def hold(self, device: torch.device) -> QuantizedWeight:
        groups = -(-self.levels.shape[1] // self.format.group_size)
        scales, zeros = (
            None if x is None else x.expand(-1, groups).contiguous().to(device)
            for x in (self.scales, self.zeros)
        )
        assert scales is not None
        shape = (self.levels.shape[0], self.levels.shape[1])
        return QuantizedWeight(
            self.format, shape, self.levels.contiguous().to(device), scales, zeros
        )


@dataclass(frozen=True, slots=True)
class StoredCodes(StoredWeight):
    """A weight in a form that a device holds as it is stored."""

    weight: CodedWeight

    def cut(self, cut: Cut, name: str) -> StoredCodes:
        return StoredCodes(self.weight.narrow(cut.dim, cut.start, cut.length))

    def hold(self, device: torch.device) -> CodedWeight:
        return self.weight.to(device)


@dataclass(frozen=True, slots=True)
class StoredOrdered(StoredWeight):
    """Levels whose columns lie in another order than the inputs, so that groups are together."""

    levels: StoredLevels
    order: Tensor
    """int64 [K]: the input of each column."""

    def cut(self, cut: Cut, name: str) -> StoredWeight:
        if cut.dim == 0:
            return StoredOrdered(self.levels.cut(cut, name), self.order)
        return self._as_codes().cut(cut, name)

    def _as_codes(self) -> StoredCodes:
        """By input: a rank's inputs are of any groups."""
        levels, format = self.levels, self.levels.format
        column = torch.argsort(self.order)
        middle = torch.full_like(levels.scales, 1 << (format.bits - 1), dtype=torch.uint8)
        codes = levels.levels.index_select(1, column)
        weight = CodedWeight(
            format=CodedFormat(f"{format}-ordered", format.bits_per_weight),
            shape=(codes.shape[0], codes.shape[1]),
            codes=pack_nibbles(codes) if format.bits == 4 else codes,
            table=torch.arange(1 << format.bits).float(),
            scales=levels.scales,
            zeros=middle if levels.zeros is None else levels.zeros,
            block=(1, format.group_size),
            groups=(column // format.group_size).int(),
        )
        return StoredCodes(weight)

    def hold(self, device: torch.device) -> ReorderedWeight:
        return ReorderedWeight(self.order.to(device), self.levels.hold(device))


@dataclass(frozen=True, slots=True)
class StoredNumbers(StoredWeight):
    """A weight that is not quantised, multiplied as one with some that are."""

    numbers: Tensor

    def cut(self, cut: Cut, name: str) -> StoredNumbers:
        return StoredNumbers(cut.of(self.numbers))

    def hold(self, device: torch.device) -> NumberWeight:
        return NumberWeight(self.numbers.contiguous().to(device))


def _fewer_ranks(cut: Cut, size: int) -> str:
    ranks = cut.whole // cut.length
    fewer = [n for n in range(1, ranks) if cut.whole % (n * size) == 0]
    if fewer:
        return f"--tp {fewer[-1]} is possible in this respect."
    return "Use --tp 1, or quantise the model with smaller groups."
