"""Levels whose columns lie in another order than the inputs, so that groups are together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unisono.hardware.weights.coded_weight import CodedWeight, pack_nibbles
from unisono.hardware.weights.held_weight import CodedFormat, HeldWeight
from unisono.hardware.weights.level_weight import LevelWeight


@dataclass(frozen=True, slots=True)
class ReorderedWeight(HeldWeight):
    """A weight, and which input each of its columns is for."""

    order: Tensor
    """int64 [K]: the input of each column."""
    weight: Any
    """Levels, or what a hardware packed them as."""

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        shape: tuple[int, int] = self.weight.shape
        return shape

    @property
    def num_bytes(self) -> int:
        return int(self.weight.num_bytes) + self.order.nbytes

    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        values: Tensor = self.weight.rows(start, stop, dtype)
        return values.index_select(1, torch.argsort(self.order))

    def narrow(self, dim: int, start: int, length: int) -> HeldWeight:
        if dim == 0:
            return replace(self, weight=self.weight.narrow(0, start, length))
        return _by_input(self.weight, self.order).narrow(1, start, length)


def _by_input(weight: LevelWeight, order: Tensor) -> CodedWeight:
    """Codes in the order of the inputs: some consecutive inputs are of any groups."""
    format, column = weight.format, torch.argsort(order)
    middle = torch.full_like(weight.scales, 1 << (format.bits - 1), dtype=torch.uint8)
    codes = weight.levels.index_select(1, column)
    return CodedWeight(
        format=CodedFormat(f"{format}-ordered", format.bits_per_weight),
        shape=weight.shape,
        codes=pack_nibbles(codes) if format.bits == 4 else codes,
        table=torch.arange(1 << format.bits).float(),
        scales=weight.scales,
        zeros=middle if weight.zeros is None else weight.zeros,
        block=(1, format.group_size),
        groups=(column // format.group_size).int(),
    )
