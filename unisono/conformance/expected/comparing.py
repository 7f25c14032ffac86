"""A result against what it should be: entry by entry, and in words where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Expected(NamedTuple):
    """float64 on the host: the exact values, and how far each entry may be from them."""

    values: Tensor
    bound: Tensor


def exactly(values: Tensor) -> Expected:
    """No error is allowed."""
    values = values.detach().cpu()
    wide = values if values.dtype in (torch.int64, torch.bool) else values.double()
    return Expected(wide, torch.zeros((), dtype=torch.float64).expand(values.shape))


@dataclass(slots=True)
class Mismatch(Exception):
    """A result that is not what it should be."""

    detail: str
    error: float | None = None
    bound: float | None = None
    culprit: str = ""
    script: str = ""

    def __str__(self) -> str:
        return self.detail


def compare(got: Tensor, want: Expected) -> float:
    """Largest error as a share of its bound. ``got`` lies on the host.

    Raises:
        Mismatch: an entry is beyond its bound.
    """
    if got.dtype in (torch.int64, torch.int32, torch.bool):
        wrong = got.long() != want.values.long()
        error = (got.long() - want.values.long()).abs().double()
    else:
        wide = got.detach().double()
        error = (wide - want.values).abs()
        wrong = ~(_same(wide, want) | _overflows(got, want) | (error <= want.bound))
    if wrong.any():
        raise _describe(got, want, error, wrong)
    finite = (error > 0) & error.isfinite() & (want.bound > 0)
    return float((error[finite] / want.bound[finite]).max()) if finite.any() else 0.0


def _same(wide: Tensor, want: Expected) -> Tensor:
    return (wide == want.values) | (wide.isnan() & want.values.isnan())


def _overflows(got: Tensor, want: Expected) -> Tensor:
    """Infinite where the exact value may round to beyond the largest number."""
    largest = torch.finfo(got.dtype).max
    beyond = want.values.abs() + want.bound >= largest
    return beyond & got.isinf() & (got.sign().double() == want.values.sign())


def _describe(got: Tensor, want: Expected, error: Tensor, wrong: Tensor) -> Mismatch:
    worst = int(_badness(error, want.bound, wrong).flatten().argmax())
    index = [int(i) for i in torch.unravel_index(torch.tensor(worst), got.shape)]
    mine, exact = got.flatten()[worst].item(), want.values.flatten()[worst].item()
    amount, bound = float(error.flatten()[worst]), float(want.bound.flatten()[worst])
    where = f"{int(wrong.sum())} of {got.numel()} entries are wrong{_pattern(wrong)}"
    detail = f"{where}; at {index}: {mine:.9g} instead of {exact:.9g} (bound {bound:.3g})"
    return Mismatch(detail, amount, bound)


def _badness(error: Tensor, bound: Tensor, wrong: Tensor) -> Tensor:
    share = error / bound.clamp(min=1e-300)
    return torch.where(wrong, share.nan_to_num(nan=torch.inf, posinf=torch.inf), -1.0)


def _pattern(wrong: Tensor) -> str:
    """The place of the wrong entries in words, if they lie together."""
    places = wrong.nonzero()
    words = []
    for dim, size in enumerate(wrong.shape):
        first, last = int(places[:, dim].min()), int(places[:, dim].max())
        if size < 2 or (first == 0 and last == size - 1):
            continue
        span = f"{first}" if first == last else f"{first} to {last}"
        words.append(f"index {span} of {size}{_end(first, size)} in dimension {dim}")
    return f", at {' and '.join(words)}" if words else ""


def _end(first: int, size: int) -> str:
    return ", the last," if first == size - 1 else ""
