"""Levels of a few bits in words of 32: without gaps, the first in the lowest bits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BITS_PER_WORD = 32


def num_words(count: int, bits: int) -> int:
    """Number of words that a row of so many levels fills."""
    return -(-count * bits // BITS_PER_WORD)


def to_words(levels: Tensor, bits: int) -> Tensor:
    """uint8 [R, C] -> int32 [R, C b / 32], of 4 or 8 bits; rows are padded with zeros."""
    missing = -levels.shape[1] % (BITS_PER_WORD // bits)
    padded = F.pad(levels, (0, missing)) if missing else levels
    if bits == 4:
        padded = padded[:, 0::2] | padded[:, 1::2] << 4
    return padded.flatten().view(torch.int32).view(len(levels), -1)


def from_words(words: Tensor, bits: int, columns: int) -> Tensor:
    """int32 [R, W] -> uint8 [R, ``columns``], of 1 to 8 bits; a level may span two words."""
    octets = words.contiguous().flatten().view(torch.uint8).view(len(words), -1)
    if bits == 8:
        return octets[:, :columns]
    if bits == 4:
        return torch.stack((octets & 15, octets >> 4), dim=-1).flatten(1)[:, :columns]
    first = torch.arange(columns, device=words.device) * bits
    octets = F.pad(octets, (0, 1)).int()
    pairs = octets[:, first // 8] | octets[:, first // 8 + 1] << 8
    return (pairs >> first % 8 & (1 << bits) - 1).to(torch.uint8)
