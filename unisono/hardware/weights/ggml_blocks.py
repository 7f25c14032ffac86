"""Weights in the block formats of ggml, held as a GGUF file stores them: what their bytes mean.

A block is a few bytes with the scales of 32 or 256 consecutive inputs and their levels. Every
operation is one rounding to float32 in the order of ``gguf-py/gguf/quants.py`` (llama.cpp), so that
values are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from unisono.core.ggml import GgmlType
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.held_weight import HeldWeight
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.stacked_weight import StackedWeight

__all__ = ["READABLE_TYPES", "BlockWeight", "as_levels"]

ShiftedLevels = tuple[LevelWeight, Tensor | None]
"""A weight [N, K] and what is added to all values of a group, float32 [N, K / 32]."""
Levels = tuple[Tensor, Tensor, Tensor | None]
"""int32 levels around 0 [blocks, size], float32 scales [blocks, groups], and shifts like these."""
Steps = tuple[Tensor, Tensor, Tensor]
"""Levels from 0, uint8 [blocks, size]; their scales and what is added behind, as above."""
_GROUP = 32


@dataclass(frozen=True, slots=True)
class BlockWeight(HeldWeight):
    """A weight [N, K], a row after the other."""

    unit: ClassVar[str] = "blocks"

    type: GgmlType
    shape: tuple[int, int]
    data: Tensor
    """uint8 [N, bytes of a row]; may be of a mapped file, so it must not be written to."""
    dtype: torch.dtype = torch.float32
    """Of rows that are looked up."""

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
        return _VALUES[self.type.name](blocks).view(len(data), self.shape[1])

    def narrow(self, dim: int, start: int, length: int) -> BlockWeight:
        if dim == 0:
            shape, data = (length, self.shape[1]), self.data.narrow(0, start, length)
        else:
            first, count = (self.type.row_bytes(n) for n in (start, length))
            shape, data = (self.shape[0], length), self.data.narrow(1, first, count)
        return replace(self, shape=shape, data=data)

    def reordered(self, rows: Tensor) -> BlockWeight:
        """With its rows in another order."""
        return replace(self, data=self.data.index_select(0, rows))

    def to(self, device: torch.device) -> BlockWeight:
        return replace(self, data=self.data.to(device))

    def as_levels(self, bits: int = 4) -> ShiftedLevels | None:
        """The same values as integer levels in groups of 32, of ``bits`` or of 8 where they need as
        many; None where the type has no such form."""
        find = _LEVELS.get(self.type.name)
        if find is None or self.shape[1] % _GROUP:
            return None
        levels, scales, shifts = find(self.data.reshape(-1, self.type.block_bytes))
        bits = max(bits, 4 if self.type.name in _FOUR_BITS else 8)
        held = LevelWeight(
            WeightFormat(bits=bits, group_size=_GROUP),
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
    bits = 4 if all(part.type.name in _FOUR_BITS for part in parts) else 8
    found = [part.as_levels(bits) for part in parts]
    pairs = [each for each in found if each is not None]
    if len(pairs) < len(parts):
        return None
    held, shifts = [each for each, _ in pairs], [each for _, each in pairs]
    levels = LevelWeight(
        held[0].format,
        weight.shape,
        torch.cat([each.levels for each in held]),
        torch.cat([each.scales for each in held]),
        None,
    )
    if all(shift is None for shift in shifts):
        return levels, None
    whole = [
        torch.zeros_like(each.scales) if shift is None else shift
        for each, shift in zip(held, shifts, strict=True)
    ]
    return levels, torch.cat(whole)


# -- fields of a block ------------------------------------------------------------------------


def _half(octets: Tensor) -> Tensor:
    """float16 numbers, [blocks, 2 n] -> float32 [blocks, n]."""
    return octets.contiguous().view(torch.float16).float()


def _fields(octets: Tensor, run: int, bits: int) -> Tensor:
    """Numbers of ``bits``, low ones first: those in the lowest bits of ``run`` bytes, then those in
    the next bits of the same bytes, until the next run. [blocks, n] -> uint8 [blocks, 8 n / bits].
    """
    runs = torch.unflatten(octets, -1, (-1, run))
    mask = (1 << bits) - 1
    return torch.cat([runs >> shift & mask for shift in range(0, 8, bits)], -1).flatten(1)


def _scaled(levels: Tensor, scales: Tensor) -> Tensor:
    """Each group of levels times its scale."""
    groups = torch.unflatten(levels.float(), -1, (scales.shape[1], -1))
    return (groups * scales.unsqueeze(-1)).flatten(1)


def _signed(levels: Tensor, middle: int) -> Tensor:
    return levels.to(torch.int32).sub_(middle)


def _from_table(codes: Tensor, table: tuple[int, ...]) -> Tensor:
    values = torch.tensor(table, dtype=torch.int32, device=codes.device)
    return values[codes.int()]


# -- blocks of 32 -----------------------------------------------------------------------------

_NL = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_FP4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""Twice the numbers of e2m1."""


def _q4_0(b: Tensor) -> Levels:
    return _signed(_fields(b[:, 2:], 16, 4), 8), _half(b[:, :2]), None


def _q5_0(b: Tensor) -> Levels:
    return _signed(_five_bits(b[:, 6:], b[:, 2:6]), 16), _half(b[:, :2]), None


def _q8_0(b: Tensor) -> Levels:
    return b[:, 2:].contiguous().view(torch.int8).int(), _half(b[:, :2]), None


def _iq4_nl(b: Tensor) -> Levels:
    return _from_table(_fields(b[:, 2:], 16, 4), _NL), _half(b[:, :2]), None


def _mxfp4(b: Tensor) -> Levels:
    """Scales are half of 2^(e - 127), because the levels are twice the numbers."""
    exponent = b[:, :1].int()
    bits = torch.where(exponent < 2, 0x200000 << exponent, exponent - 1 << 23)
    return _from_table(_fields(b[:, 1:], 16, 4), _FP4), bits.view(torch.float32), None


def _q4_1(b: Tensor) -> Steps:
    return _fields(b[:, 4:], 16, 4), _half(b[:, :2]), _half(b[:, 2:4])


def _q5_1(b: Tensor) -> Steps:
    return _five_bits(b[:, 8:], b[:, 4:8]), _half(b[:, :2]), _half(b[:, 2:4])


def _five_bits(low: Tensor, high: Tensor) -> Tensor:
    return _fields(low, 16, 4) | _fields(high, 1, 1) << 4


# -- blocks of 256 ----------------------------------------------------------------------------


def _q2_k(b: Tensor) -> Tensor:
    scales, d = b[:, :16], _half(b[:, 80:])
    steps, offsets = d[:, :1] * (scales & 15), d[:, 1:] * (scales >> 4)
    return _scaled(_fields(b[:, 16:80], 32, 2), steps) - offsets.repeat_interleave(16, 1)


def _q3_k(b: Tensor) -> Tensor:
    packed = b[:, 96:108]
    scales = _fields(packed[:, :8], 8, 4) | _fields(packed[:, 8:], 4, 2) << 4
    steps = _half(b[:, 108:]) * _signed(scales, 32)
    levels = _fields(b[:, 32:96], 32, 2) | _fields(b[:, :32], 32, 1) << 2
    return _scaled(_signed(levels, 4), steps)


def _q4_k(b: Tensor) -> Steps:
    return _fields(b[:, 16:], 32, 4), *_six_bit_scales(b)


def _q5_k(b: Tensor) -> Steps:
    return _fields(b[:, 48:], 32, 4) | _fields(b[:, 16:48], 32, 1) << 4, *_six_bit_scales(b)


def _six_bit_scales(b: Tensor) -> tuple[Tensor, Tensor]:
    """Of groups of 32, and what is added to them."""
    d = _half(b[:, :4])
    low, high, rest = b[:, 4:8], b[:, 8:12], b[:, 12:16]
    scales = torch.cat((low & 63, rest & 15 | low >> 2 & 48), -1)
    offsets = torch.cat((high & 63, rest >> 4 | high >> 2 & 48), -1)
    return d[:, :1] * scales, -(d[:, 1:] * offsets)


def _q6_k(b: Tensor) -> Tensor:
    steps = _half(b[:, 208:]) * b[:, 192:208].contiguous().view(torch.int8)
    levels = _fields(b[:, :128], 64, 4) | _fields(b[:, 128:192], 32, 2) << 4
    return _scaled(_signed(levels, 32), steps)


def _iq4_xs(b: Tensor) -> Levels:
    scales = _fields(b[:, 4:8], 1, 4) | _fields(b[:, 2:4], 1, 2) << 4
    return _from_table(_fields(b[:, 8:], 16, 4), _NL), _half(b[:, :2]) * _signed(scales, 32), None


_EXACT: dict[str, Callable[[Tensor], Levels]] = {
    "Q4_0": _q4_0,
    "Q5_0": _q5_0,
    "Q8_0": _q8_0,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
}
"""Types whose values are an integer times the scale of 32 of them."""
_STEPS: dict[str, tuple[Callable[[Tensor], Steps], int]] = {
    "Q4_1": (_q4_1, 8),
    "Q4_K": (_q4_k, 8),
    "Q5_1": (_q5_1, 16),
    "Q5_K": (_q5_k, 16),
}
"""Types to whose groups of 32 a number is added; and the level in the middle."""
_FOUR_BITS = ("Q4_0", "Q4_1", "Q4_K")
"""Types of either kind whose integers have 4 bits."""


def _around(find: Callable[[Tensor], Steps], middle: int) -> Callable[[Tensor], Levels]:
    def levels(blocks: Tensor) -> Levels:
        codes, scales, offsets = find(blocks)
        return _signed(codes, middle), scales, offsets + middle * scales

    return levels


_LEVELS = {**_EXACT, **{name: _around(*steps) for name, steps in _STEPS.items()}}


def _from_levels(find: Callable[[Tensor], Levels]) -> Callable[[Tensor], Tensor]:
    return lambda blocks: _scaled(*find(blocks)[:2])


def _from_steps(find: Callable[[Tensor], Steps]) -> Callable[[Tensor], Tensor]:
    def values(blocks: Tensor) -> Tensor:
        codes, scales, offsets = find(blocks)
        return _scaled(codes, scales) + offsets.repeat_interleave(_GROUP, 1)

    return values


_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "F32": lambda b: b.contiguous().view(torch.float32),
    "F16": _half,
    "BF16": lambda b: b.contiguous().view(torch.bfloat16).float(),
    **{name: _from_levels(find) for name, find in _EXACT.items()},
    **{name: _from_steps(find) for name, (find, _) in _STEPS.items()},
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q6_K": _q6_k,
}
"""float32 [blocks, size] of uint8 [blocks, bytes]."""
READABLE_TYPES = frozenset(_VALUES)
