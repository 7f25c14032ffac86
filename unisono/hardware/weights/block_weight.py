"""Weights in the block formats of ggml, held as a GGUF file stores them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from unisono.core.ggml import GgmlType
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.ggml_blocks import FOUR_BIT_TYPES, LEVELS, STEPS, VALUES
from unisono.hardware.weights.held_weight import HeldWeight
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.stacked_weight import StackedWeight, join_levels

ShiftedLevels = tuple[LevelWeight, Tensor | None]
"""A weight [N, K], and what is added to the values of its groups, float32 [N, groups]; levels of a
weight with shifts count from 0: a value is level * scale + shift."""


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

    def as_levels(self) -> ShiftedLevels | None:
        """The same values as integer levels of 4 or 8 bits in groups that share a scale; None where
        the type has no such form."""
        name, blocks = self.type.name, self.data.reshape(-1, self.type.block_bytes)
        bits = 4 if name in FOUR_BIT_TYPES else 8
        if name in LEVELS:
            signed, scales = LEVELS[name](blocks)
            return self._in_groups(bits, signed.add_(_middle(bits)).to(torch.uint8), scales), None
        if name in STEPS:
            codes, scales, shifts = STEPS[name](blocks)
            return self._in_groups(bits, codes, scales), shifts.reshape(self.shape[0], -1)
        return None

    def _in_groups(self, bits: int, codes: Tensor, scales: Tensor) -> LevelWeight:
        format = WeightFormat(bits=bits, group_size=codes.shape[1] // scales.shape[1])
        scales = scales.reshape(self.shape[0], -1).contiguous()
        return LevelWeight(format, self.shape, codes.view(self.shape), scales, None)


def _middle(bits: int) -> int:
    return 1 << (bits - 1)


def as_levels(weight: HeldWeight) -> ShiftedLevels | None:
    """The values of a ``BlockWeight``, or of several stacked, as levels in one format; None for
    another weight, and where one of the types has no such form.

    Where types differ, all parts take the most bits and the smallest groups among them. Where one
    of them has shifts all have, and all levels count from 0.
    """
    parts = weight.parts if isinstance(weight, StackedWeight) else (weight,)
    if not all(isinstance(part, BlockWeight) for part in parts):
        return None
    found = [pair for part in parts if (pair := part.as_levels()) is not None]
    if len(found) < len(parts):
        return None
    if len(found) == 1:
        return found[0]
    formats = [levels.format for levels, _ in found]
    common = WeightFormat(
        bits=max(format.bits for format in formats),
        group_size=min(format.group_size for format in formats),
    )
    shifted = any(shifts is not None for _, shifts in found)
    pairs = [_in_format(common, levels, shifts, shifted) for levels, shifts in found]
    all_shifts = [shifts for _, shifts in pairs if shifts is not None]
    return join_levels([levels for levels, _ in pairs]), torch.cat(all_shifts) if shifted else None


def _in_format(
    format: WeightFormat, weight: LevelWeight, shifts: Tensor | None, shifted: bool
) -> ShiftedLevels:
    """The same values in smaller groups and more bits; ``shifted``: with levels from 0."""
    times = weight.format.group_size // format.group_size
    middle, levels = _middle(weight.format.bits), weight.levels
    if shifted:
        found = shifts if shifts is not None else weight.scales * -float(middle)
        shifts = found.repeat_interleave(times, 1)
    else:
        levels = levels + (_middle(format.bits) - middle)
    scales = weight.scales.repeat_interleave(times, 1)
    return replace(weight, format=format, levels=levels, scales=scales), shifts
