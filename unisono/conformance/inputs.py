"""Inputs of checks: made on the host from fixed seeds, so that every run has the same ones."""

from __future__ import annotations

import torch
from torch import Tensor


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Normally distributed."""
    return torch.randn(shape, generator=_generator(seed)).to(dtype)


def positive(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Uniform in [0.5, 1.5): sums of these grow."""
    return (torch.rand(shape, generator=_generator(seed)) + 0.5).to(dtype)


def integers(
    *shape: int, low: int, high: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Tensor:
    """Whole numbers from low to high."""
    return torch.randint(low, high + 1, shape, generator=_generator(seed)).to(dtype)
