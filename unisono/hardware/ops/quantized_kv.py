"""Keys and values in 8 bits: what the form means, and the reference of every fast one.

A token's key, and its value, has one scale for each head: the largest magnitude becomes the largest
level. What is not finite makes the whole head NaN, so that it is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SMALLEST_SCALE = 2.0**-126
"""Smaller ones are 0, and so are their heads: the inverse would overflow."""


@dataclass(frozen=True, slots=True)
class QuantizedKV:
    """A layer's cache; blocks may lie apart (strided views)."""

    levels: Tensor
    """int8 or float8_e4m3fn [2, blocks, block_size, Hk, D]: keys, then values."""
    scales: Tensor
    """float32 [2, blocks, block_size, Hk]."""

    @property
    def device(self) -> torch.device:
        return self.levels.device

    @property
    def requires_grad(self) -> bool:
        return False

    @property
    def as_bytes(self) -> Tensor:
        """The levels as int8: what moves them about need not know float8."""
        return self.levels.view(torch.int8)

    def from_bytes(self, levels: Tensor, scales: Tensor) -> Tensor:
        """Some of ``as_bytes`` [..., D] and their scales [...] -> values, float32."""
        return levels.view(self.levels.dtype).float().mul_(scales.unsqueeze(-1))


LayerKV = Tensor | QuantizedKV
"""Keys and values of a layer: in the model's dtype [2, blocks, block_size, Hk, D], or in 8 bits."""


def quantize_heads(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x [..., D] of any float dtype -> levels of ``dtype`` [..., D], scales float32 [...]."""
    x32 = x.float()
    top = largest_level(dtype)
    scales = x32.abs().amax(-1) / top
    scales = torch.where(scales < _SMALLEST_SCALE, 0.0, scales)
    inverse = torch.where(scales == 0, 0.0, 1.0 / scales)
    levels = (x32 * inverse.unsqueeze(-1)).clamp_(-top, top)
    if not dtype.is_floating_point:
        levels = levels.nan_to_num_(0.0).round_()
    return levels.to(dtype), scales


def largest_level(dtype: torch.dtype) -> float:
    """Symmetric: -128 of int8 is not used."""
    return torch.finfo(dtype).max if dtype.is_floating_point else torch.iinfo(dtype).max
