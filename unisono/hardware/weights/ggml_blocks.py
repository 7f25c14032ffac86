"""Decodes the bytes of a block in each of ggml's formats.

A block is a few bytes with the scales of 32 or 256 consecutive inputs and their levels. Every
operation is one rounding to float32 in the order of ``gguf-py/gguf/quants.py`` (llama.cpp), so that
values are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Levels = tuple[Tensor, Tensor]
"""int32 levels around 0 [blocks, size] and float32 scales [blocks, groups]: the value is their
product."""
Steps = tuple[Tensor, Tensor, Tensor]
"""Levels from 0, uint8 [blocks, size]; scales and shifts, float32 [blocks, groups]: the shift is
added to the product."""


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
    return _signed(_fields(b[:, 2:], 16, 4), 8), _half(b[:, :2])


def _q5_0(b: Tensor) -> Levels:
    return _signed(_five_bits(b[:, 6:], b[:, 2:6]), 16), _half(b[:, :2])


def _q8_0(b: Tensor) -> Levels:
    return b[:, 2:].contiguous().view(torch.int8).int(), _half(b[:, :2])


def _iq4_nl(b: Tensor) -> Levels:
    return _from_table(_fields(b[:, 2:], 16, 4), _NL), _half(b[:, :2])


def _mxfp4(b: Tensor) -> Levels:
    """Scales are half of 2^(e - 127), because the levels are twice the numbers."""
    exponent = b[:, :1].int()
    bits = torch.where(exponent < 2, 0x200000 << exponent, exponent - 1 << 23)
    return _from_table(_fields(b[:, 1:], 16, 4), _FP4), bits.view(torch.float32)


def _q4_1(b: Tensor) -> Steps:
    return _fields(b[:, 4:], 16, 4), _half(b[:, :2]), _half(b[:, 2:4])


def _q5_1(b: Tensor) -> Steps:
    return _five_bits(b[:, 8:], b[:, 4:8]), _half(b[:, :2]), _half(b[:, 2:4])


def _five_bits(low: Tensor, high: Tensor) -> Tensor:
    return _fields(low, 16, 4) | _fields(high, 1, 1) << 4


# -- blocks of 256 ----------------------------------------------------------------------------


def _q2_k(b: Tensor) -> Steps:
    scales, d = b[:, :16], _half(b[:, 80:])
    return _fields(b[:, 16:80], 32, 2), d[:, :1] * (scales & 15), -(d[:, 1:] * (scales >> 4))


def _q3_k(b: Tensor) -> Levels:
    packed = b[:, 96:108]
    scales = _fields(packed[:, :8], 8, 4) | _fields(packed[:, 8:], 4, 2) << 4
    steps = _half(b[:, 108:]) * _signed(scales, 32)
    levels = _fields(b[:, 32:96], 32, 2) | _fields(b[:, :32], 32, 1) << 2
    return _signed(levels, 4), steps


def _q4_k(b: Tensor) -> Steps:
    return _fields(b[:, 16:], 32, 4), *_six_bit_scales(b)


def _q5_k(b: Tensor) -> Steps:
    return _fields(b[:, 48:], 32, 4) | _fields(b[:, 16:48], 32, 1) << 4, *_six_bit_scales(b)


def _six_bit_scales(b: Tensor) -> tuple[Tensor, Tensor]:
    """Scales of groups of 32, and their offsets."""
    d = _half(b[:, :4])
    low, high, rest = b[:, 4:8], b[:, 8:12], b[:, 12:16]
    scales = torch.cat((low & 63, rest & 15 | low >> 2 & 48), -1)
    offsets = torch.cat((high & 63, rest >> 4 | high >> 2 & 48), -1)
    return d[:, :1] * scales, -(d[:, 1:] * offsets)


def _q6_k(b: Tensor) -> Levels:
    steps = _half(b[:, 208:]) * b[:, 192:208].contiguous().view(torch.int8)
    levels = _fields(b[:, :128], 64, 4) | _fields(b[:, 128:192], 32, 2) << 4
    return _signed(levels, 32), steps


def _iq4_xs(b: Tensor) -> Levels:
    scales = _fields(b[:, 4:8], 1, 4) | _fields(b[:, 2:4], 1, 2) << 4
    return _from_table(_fields(b[:, 8:], 16, 4), _NL), _half(b[:, :2]) * _signed(scales, 32)


LEVELS: dict[str, Callable[[Tensor], Levels]] = {
    "Q3_K": _q3_k,
    "Q4_0": _q4_0,
    "Q5_0": _q5_0,
    "Q6_K": _q6_k,
    "Q8_0": _q8_0,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
}
"""Types whose values are an integer times a scale; of uint8 [blocks, bytes]."""
STEPS: dict[str, Callable[[Tensor], Steps]] = {
    "Q2_K": _q2_k,
    "Q4_1": _q4_1,
    "Q4_K": _q4_k,
    "Q5_1": _q5_1,
    "Q5_K": _q5_k,
}
"""Types whose groups are shifted."""
FOUR_BIT_TYPES = ("Q4_0", "Q4_1", "Q4_K")
"""Types of either kind with integers of 4 bits in groups of 32."""


def _from_levels(find: Callable[[Tensor], Levels]) -> Callable[[Tensor], Tensor]:
    return lambda blocks: _scaled(*find(blocks))


def _from_steps(find: Callable[[Tensor], Steps]) -> Callable[[Tensor], Tensor]:
    def values(blocks: Tensor) -> Tensor:
        codes, scales, shifts = find(blocks)
        shared = codes.shape[1] // shifts.shape[1]
        return _scaled(codes, scales) + shifts.repeat_interleave(shared, 1)

    return values


VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "F32": lambda b: b.contiguous().view(torch.float32),
    "F16": _half,
    "BF16": lambda b: b.contiguous().view(torch.bfloat16).float(),
    **{name: _from_levels(find) for name, find in LEVELS.items()},
    **{name: _from_steps(find) for name, find in STEPS.items()},
}
"""float32 [blocks, size] of uint8 [blocks, bytes]."""
READABLE_TYPES = frozenset(VALUES)
