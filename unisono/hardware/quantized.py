"""Quantised weights in plain torch: what the formats mean, and the reference of every fast form.

Levels and scales are decided here alone, so that a weight has the same values on every hardware.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.core.weight_format import WeightFormat

__all__ = ["QuantizedWeight", "quantize"]

_SHRINK = (1.0, 0.95, 0.9, 0.85)
"""Ranges that are tried for each group of 4 bits: clipping the largest may lose less than rounding
all the others more coarsely."""
_ROWS_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A weight [N, K]; groups of a row are padded to whole ones."""

    format: WeightFormat
    shape: tuple[int, int]
    levels: Tensor
    """uint8 [N, K]."""
    scales: Tensor
    """float32 [N, groups]; bfloat16 numbers, unless a checkpoint brought others."""
    zeros: Tensor | None
    """uint8 [N, groups]; None where the zero is the middle level."""

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The values, [N, K]."""
        size = self.format.group_size
        levels = _in_groups(self.levels.float(), size)
        middle = float(1 << (self.format.bits - 1))
        zeros = middle if self.zeros is None else self.zeros.float().unsqueeze(-1)
        values = (levels - zeros) * self.scales.unsqueeze(-1)
        return values.flatten(1)[:, : self.shape[1]].to(dtype)

    @property
    def num_bytes(self) -> int:
        """Of the format, whatever form a hardware gives it."""
        return int(self.shape[0] * self.shape[1] * self.format.bits_per_weight / 8)


def quantize(weight: Tensor, format: WeightFormat) -> QuantizedWeight:
    """Round a weight [N, K] of any float dtype to the format, group by group.

    Symmetric: the entry of the largest magnitude gets the lowest level (-8 of 4 bits), so that the
    odd level is used. Asymmetric: the range from smallest to largest, zero included. With 4 bits
    the range that gives the least squared error is taken from a few.
    """
    rows_at_once = max(1, _ROWS_AT_ONCE // weight.shape[1])
    parts = [_quantize_rows(rows, format) for rows in torch.split(weight.detach(), rows_at_once)]
    levels, scales, zeros = (torch.cat(column) for column in zip(*parts, strict=True))
    shape = (weight.shape[0], weight.shape[1])
    return QuantizedWeight(format, shape, levels, scales, None if format.symmetric else zeros)


def _quantize_rows(rows: Tensor, format: WeightFormat) -> tuple[Tensor, Tensor, Tensor]:
    groups = _in_groups(rows.float(), format.group_size)
    span = _symmetric_span if format.symmetric else _asymmetric_span
    best: tuple[Tensor, Tensor, Tensor] | None = None
    least = torch.empty(0)
    for share in _SHRINK if format.bits == 4 else _SHRINK[:1]:
        scale, zero = span(groups, format.bits, share)
        levels = _levels(groups, scale, zero, format.bits)
        if format.bits != 4:
            best = levels, scale, zero
            break
        error = ((levels - zero) * scale).sub_(groups).square_().sum(-1, keepdim=True)
        if best is None:
            best, least = (levels, scale, zero), error
            continue
        better = error < least
        best = tuple(  # type: ignore[assignment]
            torch.where(better, new, old)
            for new, old in zip((levels, scale, zero), best, strict=True)
        )
        least = torch.minimum(error, least)
    assert best is not None
    levels, scale, zero = best
    return (
        levels.flatten(1)[:, : rows.shape[1]].to(torch.uint8).contiguous(),
        scale.squeeze(-1).contiguous(),
        zero.squeeze(-1).to(torch.uint8).contiguous(),
    )


def _in_groups(rows: Tensor, size: int) -> Tensor:
    """[N, K] -> [N, groups, size], padded with zeros."""
    missing = -rows.shape[1] % size
    return torch.unflatten(F.pad(rows, (0, missing)) if missing else rows, 1, (-1, size))


def _symmetric_span(groups: Tensor, bits: int, share: float) -> tuple[Tensor, Tensor]:
    largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
    middle = 1 << (bits - 1)
    scale = _as_bfloat16(largest * (share / -middle))
    return scale, torch.full_like(scale, middle)


def _asymmetric_span(groups: Tensor, bits: int, share: float) -> tuple[Tensor, Tensor]:
    low = groups.amin(-1, keepdim=True).clamp_(max=0.0)
    high = groups.amax(-1, keepdim=True).clamp_(min=0.0)
    top = (1 << bits) - 1
    scale = _as_bfloat16((high - low) * (share / top))
    zero = torch.where(scale > 0, (-low * share / scale).round(), 0.0).clamp_(0, top)
    return scale, zero


def _as_bfloat16(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).float()


def _levels(groups: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    inverse = torch.where(scale == 0, 0.0, 1.0 / scale)
    return (groups * inverse).add_(zero).round_().clamp_(0, (1 << bits) - 1)
