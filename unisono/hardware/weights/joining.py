"""Held weights one below the other."""

from __future__ import annotations

import torch

from unisono.hardware.weights.compact_weight import HeldWeight, ReorderedWeight, StackedWeight
from unisono.hardware.weights.quantized import QuantizedWeight

__all__ = ["join"]


def join(parts: list[HeldWeight]) -> HeldWeight:
    """Weights of one width, one below the other: one weight where levels of a format allow it."""
    if len(parts) == 1:
        return parts[0]
    reordered = [part for part in parts if isinstance(part, ReorderedWeight)]
    if len(reordered) == len(parts) and all(
        torch.equal(part.order, reordered[0].order) for part in reordered
    ):
        return ReorderedWeight(reordered[0].order, join([part.weight for part in reordered]))
    levels = [part for part in parts if isinstance(part, QuantizedWeight)]
    if len(levels) == len(parts) and len({part.format for part in levels}) == 1:
        return _join_levels(levels)
    return StackedWeight(tuple(parts))


def _join_levels(parts: list[QuantizedWeight]) -> QuantizedWeight:
    zeros = [part.zeros for part in parts if part.zeros is not None]
    return QuantizedWeight(
        parts[0].format,
        (sum(part.shape[0] for part in parts), parts[0].shape[1]),
        torch.cat([part.levels for part in parts]),
        torch.cat([part.scales for part in parts]),
        torch.cat(zeros) if zeros else None,
    )
