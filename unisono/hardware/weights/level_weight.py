"""Weights as integer levels: groups of inputs share a scale and a zero."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.held_weight import HeldWeight


@dataclass(frozen=True, slots=True)
class LevelWeight(HeldWeight):
    """A weight [N, K]; groups of a row are padded to whole ones."""

    format: WeightFormat
    shape: tuple[int, int]
    levels: Tensor
    """uint8 [N, K]."""
    scales: Tensor
    """float32 [N, groups]; bfloat16 numbers, unless a checkpoint brought others. May be a view that
    repeats those of a row, until it is on a device."""
    zeros: Tensor | None
    """uint8 [N, groups]; None where the zero is the middle level."""

    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        levels = in_groups(self.levels[start:stop].float(), self.format.group_size)
        middle = float(1 << (self.format.bits - 1))
        zeros = middle if self.zeros is None else self.zeros[start:stop].float().unsqueeze(-1)
        values = (levels - zeros) * self.scales[start:stop].unsqueeze(-1)
        return values.flatten(1)[:, : self.shape[1]].to(dtype)

    @property
    def num_bytes(self) -> int:
        return int(self.shape[0] * self.shape[1] * self.format.bits_per_weight / 8)

    @property
    def unit_size(self) -> int:
        shared = (x for x in (self.scales, self.zeros) if x is not None)
        by_row = all(bool((x == x[:, :1]).all()) for x in shared)
        return 1 if by_row else self.format.group_size

    def narrow(self, dim: int, start: int, length: int) -> LevelWeight:
        first, count, shape = start, length, (length, self.shape[1])
        if dim == 1:
            size = self.format.group_size
            first, count, shape = start // size, -(-length // size), (self.shape[0], length)
        return replace(
            self,
            shape=shape,
            levels=self.levels.narrow(dim, start, length),
            scales=self.scales.narrow(dim, first, count),
            zeros=None if self.zeros is None else self.zeros.narrow(dim, first, count),
        )


def in_groups(rows: Tensor, size: int) -> Tensor:
    """[N, K] -> [N, groups, size], padded with zeros."""
    missing = -rows.shape[1] % size
    return torch.unflatten(F.pad(rows, (0, missing)) if missing else rows, 1, (-1, size))
