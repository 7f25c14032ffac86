"""Rounding of weights to levels, in plain torch: the reference of every fast form.

Levels and scales are decided here alone, so that a weight has the same values on every hardware.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.level_weight import LevelWeight, in_groups

_SHRINK = (0.95, 0.9, 0.85)
"""Ranges that are tried beside the whole one for each group of 4 bits: clipping the largest may
lose less than rounding all the others more coarsely."""
_SMALLEST_SCALE = 2.0**-126
"""Smaller ones are 0: their inverse would overflow, and some hardware takes them for 0 anyway."""
_WEIGHTS_AT_ONCE = 1 << 22


def quantize(weight: Tensor, format: WeightFormat) -> LevelWeight:
    """Round a weight [N, K] of any float dtype to the format, group by group.

    Symmetric: the entry of the largest magnitude, the first of several, gets the lowest level (-8
    of 4 bits), so that the odd level is used. Asymmetric: the range from smallest to largest, zero
    included. With 4 bits the range that gives the least squared error is taken from a few, the
    widest of several. Every step is one rounding to float32 in a fixed order, so that native code
    finds the same bits.

    Raises:
        CheckpointError: a weight is not finite.
    """
    rows_at_once = max(1, _WEIGHTS_AT_ONCE // weight.shape[1])
    parts = [_quantize_rows(rows, format) for rows in torch.split(weight.detach(), rows_at_once)]
    levels, scales, zeros = (torch.cat(column) for column in zip(*parts, strict=True))
    shape = (weight.shape[0], weight.shape[1])
    return LevelWeight(format, shape, levels, scales, None if format.symmetric else zeros)


def _quantize_rows(rows: Tensor, format: WeightFormat) -> tuple[Tensor, Tensor, Tensor]:
    groups = in_groups(rows.float(), format.group_size)
    if not groups.isfinite().all():
        raise CheckpointError(
            "A weight that is not finite cannot be quantised.",
            hint="Its file may be damaged. --weights auto loads it as it is.",
        )
    scale, zero = (_best_span if format.bits == 4 else _span)(groups, format)
    return (
        _levels(groups, scale, zero, format.bits).flatten(1)[:, : rows.shape[1]].to(torch.uint8),
        scale.squeeze(-1),
        zero.squeeze(-1).to(torch.uint8),
    )


def _best_span(groups: Tensor, format: WeightFormat) -> tuple[Tensor, Tensor]:
    scale, zero = _span(groups, format)
    least = _squared_error(groups, scale, zero, format.bits)
    for share in _SHRINK:
        narrower = _span(groups, format, share)
        error = _squared_error(groups, *narrower, format.bits)
        better = error < least
        scale = torch.where(better, narrower[0], scale)
        zero = torch.where(better, narrower[1], zero)
        least = torch.where(better, error, least)
    return scale, zero


def _squared_error(groups: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    levels = _levels(groups, scale, zero, bits)
    return _sum_by_halves(levels.sub_(zero).mul_(scale).sub_(groups).square_())


def _sum_by_halves(x: Tensor) -> Tensor:
    """Sum over the last dimension, a power of two: the second half onto the first, until one is
    left. A fixed order, unlike ``sum``."""
    while (size := x.shape[-1]) > 1:
        x = x[..., : size // 2] + x[..., size // 2 :]
    return x


def _span(groups: Tensor, format: WeightFormat, share: float = 1.0) -> tuple[Tensor, Tensor]:
    """Scale and zero of each group, [N, groups, 1], for a share of its range."""
    if format.symmetric:
        return _symmetric_span(groups, format.bits, share)
    return _asymmetric_span(groups, format.bits, share)


def _symmetric_span(groups: Tensor, bits: int, share: float) -> tuple[Tensor, Tensor]:
    middle = 1 << (bits - 1)
    scale = _as_scale(_first_largest(groups) * (share / -middle))
    return scale, torch.full_like(scale, middle)


def _first_largest(groups: Tensor) -> Tensor:
    """The first entry of the largest magnitude, [N, groups, 1]; which of several ``argmax`` gives
    is a device's own choice."""
    magnitudes, size = groups.abs(), groups.shape[-1]
    index = torch.arange(size, device=groups.device)
    is_largest = magnitudes == magnitudes.amax(-1, keepdim=True)
    first = torch.where(is_largest, index, size).amin(-1, keepdim=True)
    return groups.gather(-1, first)


def _asymmetric_span(groups: Tensor, bits: int, share: float) -> tuple[Tensor, Tensor]:
    low = groups.amin(-1, keepdim=True).clamp_(max=0.0)
    high = groups.amax(-1, keepdim=True).clamp_(min=0.0)
    top = (1 << bits) - 1
    scale = _as_scale(high * (share / top) - low * (share / top))
    zero = torch.where(scale == 0, 0.0, (-low * share / scale).round_()).clamp_(0, top)
    return scale, zero


def _as_scale(x: Tensor) -> Tensor:
    """The bfloat16 number, 0 for what is too small."""
    scale = x.to(torch.bfloat16).float()
    return torch.where(scale.abs() < _SMALLEST_SCALE, 0.0, scale)


def _levels(groups: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    inverse = torch.where(scale == 0, 0.0, 1.0 / scale)
    return (groups * inverse).add_(zero).round_().clamp_(0, (1 << bits) - 1)
