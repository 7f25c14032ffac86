"""Weights in the block formats of ggml, held as a GGUF file stores them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from unisono.core.ggml import GgmlType
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.ggml_blocks import FOUR_BIT_TYPES, GROUP, LEVELS, VALUES
from unisono.hardware.weights.held_weight import HeldWeight
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.stacked_weight import StackedWeight, join_levels

__all__ = ["BlockWeight", "as_levels"]

ShiftedLevels = tuple[LevelWeight, Tensor | None]
"""A weight [N, K] and what is added to all values of a group, float32 [N, K / 32]."""


@dataclass(frozen=True, slots=True)
class BlockWeight(HeldWeight):
    """A weight [N, K], a row after the other."""

    unit: ClassVar[str] = "blocks"

    type: GgmlType
    shape: tuple[int, int]
    data: Tensor
    """uint8 [N, bytes of a row]; may be of a mapped file, so it must not be written to."""
    dtype: torch.dtype = torch.float32
    """Dtype of the rows of a table that are looked up."""

    @property
    def num_bytes(self) -> int:
        return self.shape[0] * self.type.row_bytes(self.shape[1])

    @property
    def unit_size(self) -> int:
        return self.type.block_size

    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        return self._values(self.data[start:stop]).to(dtype)

    def look_up(self, ids: Tensor) -> Tensor:
        """The rows of some numbers [T], as ``dtype`` [T, K]."""
        return self._values(self.data.index_select(0, ids)).to(self.dtype)

    def _values(self, data: Tensor) -> Tensor:
        blocks = data.reshape(-1, self.type.block_bytes)
        return VALUES[self.type.name](blocks).view(len(data), self.shape[1])

    def narrow(self, dim: int, start: int, length: int) -> BlockWeight:
        if dim == 0:
            shape, data = (length, self.shape[1]), self.data.narrow(0, start, length)
        else:
            first, count = (self.type.row_bytes(n) for n in (start, length))
            shape, data = (self.shape[0], length), self.data.narrow(1, first, count)
        return replace(self, shape=shape, data=data)

    def as_levels(self, bits: int = 4) -> ShiftedLevels | None:
        """The same values as integer levels in groups of 32, of ``bits`` or of 8 where they need as
        many; None where the type has no such form."""
        find = LEVELS.get(self.type.name)
        if find is None or self.shape[1] % GROUP:
            return None
        levels, scales, shifts = find(self.data.reshape(-1, self.type.block_bytes))
        bits = max(bits, 4 if self.type.name in FOUR_BIT_TYPES else 8)
        held = LevelWeight(
            WeightFormat(bits=bits, group_size=GROUP),
            self.shape,
            levels.add_(1 << (bits - 1)).to(torch.uint8).view(self.shape),
            scales.reshape(self.shape[0], -1).contiguous(),
            None,
        )
        return held, None if shifts is None else shifts.reshape(self.shape[0], -1)


def as_levels(weight: HeldWeight) -> ShiftedLevels | None:
    """The same of blocks, or of several types of them in one weight."""
    parts = weight.parts if isinstance(weight, StackedWeight) else (weight,)
    if not all(isinstance(part, BlockWeight) for part in parts):
        return None
    bits = 4 if all(part.type.name in FOUR_BIT_TYPES for part in parts) else 8
    found = [part.as_levels(bits) for part in parts]
    pairs = [each for each in found if each is not None]
    if len(pairs) < len(parts):
        return None
    held, shifts = [each for each, _ in pairs], [each for _, each in pairs]
    levels = join_levels(held)
    if all(shift is None for shift in shifts):
        return levels, None
    whole = [
        torch.zeros_like(each.scales) if shift is None else shift
        for each, shift in zip(held, shifts, strict=True)
    ]
    return levels, torch.cat(whole)
