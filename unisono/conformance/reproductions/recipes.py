"""Inputs of an op call, made anew: as tensors and as the text of a program."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Style = Literal["normal", "range", "stated"]
STYLES: tuple[Style, ...] = ("normal", "range", "stated")
"""Styles of made floats: normally distributed; spread as the true ones are; the true ones."""
_FEW = 512
"""Values that a program can state."""
_FEW_SPECIAL = 16
"""Infinities and NaN among random numbers."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A tensor of this shape and layout. ``special`` entries of its storage have values of their
    own; ``values`` are stated, else numbers from ``low`` to ``high`` are drawn."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    draw: Literal["normal", "uniform", "integers", "values"]
    low: float = 0.0
    high: float = 0.0
    values: tuple[Any, ...] = ()
    special: tuple[tuple[int, float], ...] = ()

    @property
    def size(self) -> int:
        """Entries of the storage, gaps included."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))

    @property
    def contiguous(self) -> bool:
        dense = 1
        for n, s in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if n not in (0, 1) and s != dense:
                return False
            dense *= n
        return True

    def base(self) -> Tensor:
        """The storage as one row, on the host; seed first."""
        base = self._drawn()
        for place, value in self.special:
            base[place] = value
        return base

    def _drawn(self) -> Tensor:
        if self.draw == "values":
            flat = torch.zeros(self.size, dtype=self.dtype)
            stated = torch.tensor(self.values, dtype=self.dtype).view(self.shape)
            flat.as_strided(self.shape, self.stride).copy_(stated)
            return flat
        if self.draw == "normal":
            return torch.randn(self.size).to(self.dtype)
        if self.draw == "integers":
            return torch.randint(int(self.low), int(self.high) + 1, (self.size,)).to(self.dtype)
        return (torch.rand(self.size) * (self.high - self.low) + self.low).to(self.dtype)

    def laid_out(self, base: Tensor) -> Tensor:
        return base.as_strided(self.shape, self.stride)

    def text(self, place: str) -> str:
        """The tensor as an expression; ``place`` names a function that moves it."""
        special = ", ".join(f"{at}: {_floats(value)}" for at, value in self.special)
        words = f"{place}({self._drawn_text()}{f', {{{special}}}' if special else ''})"
        if self.contiguous:
            return f"{words}.view({self.shape})"
        return f"{words}.as_strided({self.shape}, {self.stride})"

    def _drawn_text(self) -> str:
        if self.draw == "values":
            return f"torch.tensor({_floats(self._drawn().tolist())}, dtype={self.dtype})"
        if self.draw == "normal":
            words = f"torch.randn({self.size})"
        elif self.draw == "integers":
            words = f"torch.randint({int(self.low)}, {int(self.high) + 1}, ({self.size},))"
        else:
            words = f"(torch.rand({self.size}) * {self.high - self.low!r} + {self.low!r})"
        usual = torch.int64 if self.draw == "integers" else torch.float32
        return words if self.dtype == usual else f"{words}.to({self.dtype})"


def _floats(value: Any) -> str:
    text = repr(value)
    for word in ("nan", "inf"):
        text = text.replace(word, f'float("{word}")')
    return text


def recipe_of(tensor: Tensor, style: Style) -> Recipe | None:
    """Recipe of a host tensor; None where that style cannot make it."""
    floating = tensor.dtype.is_floating_point
    form: dict[str, Any] = {
        "shape": tuple(tensor.shape),
        "stride": tuple(tensor.stride()),
        "dtype": tensor.dtype,
    }
    few = tensor.numel() <= _FEW and all(s >= 0 for s in tensor.stride())
    if few and (style == "stated" or not floating):
        return Recipe(**form, draw="values", values=tuple(tensor.flatten().tolist()))
    special = _special(tensor) if floating else ()
    if style == "stated" or len(special) > _FEW_SPECIAL:
        return None
    if floating and style == "normal":
        return Recipe(**form, draw="normal", special=special)
    finite = tensor[tensor.isfinite()].double()
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
    whole = bool((finite == finite.round()).all()) and math.isfinite(high - low)
    draw: Literal["integers", "uniform"] = "integers" if whole or not floating else "uniform"
    return Recipe(**form, draw=draw, low=low, high=high, special=special)


def _special(tensor: Tensor) -> tuple[tuple[int, float], ...]:
    """Places in the storage of what is not finite, one more than there may be."""
    places = (~tensor.isfinite()).nonzero()[: _FEW_SPECIAL + 1]
    strides = torch.tensor(tensor.stride(), dtype=torch.int64)
    return tuple(
        (int((place * strides).sum()), float(tensor[tuple(place.tolist())])) for place in places
    )


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Arguments with every tensor in them changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(entry, change) for entry in value)
    if isinstance(value, dict):
        return {key: map_tensors(entry, change) for key, entry in value.items()}
    return value


def render(value: Any, names: Callable[[Recipe], str]) -> str:
    """An argument as text; recipes by their names."""
    if isinstance(value, Recipe):
        return names(value)
    if isinstance(value, (list, tuple)):
        inner = ", ".join(render(entry, names) for entry in value)
        return f"[{inner}]"
    if isinstance(value, torch.device):
        return "where"
    return _floats(value) if isinstance(value, float) else repr(value)
