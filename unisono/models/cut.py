"""A rank's part of a checkpoint's tensor, in whichever form that is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from unisono.core.errors import ConfigError
from unisono.hardware.weights.held_weight import HeldWeight
from unisono.hardware.weights.stacked_weight import join


@dataclass(frozen=True, slots=True)
class Cut:
    """``length`` from ``start`` of ``whole`` in dimension ``dim``. ``zero``: the tensor is there,
    and this rank holds zeros in its place."""

    dim: int = 0
    start: int = 0
    length: int = 0
    whole: int = 0
    zero: bool = False
    stacked: tuple[int, ...] = ()
    """Rank's lengths of the matrices that make up the tensor, where each is divided by itself."""

    def whole_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The checkpoint's shape, from the shape of a rank's part."""
        if self.zero:
            return shape
        return (*shape[: self.dim], self.whole, *shape[self.dim + 1 :])

    @property
    def num_pieces(self) -> int:
        """Number of different parts that the ranks have."""
        return self.whole // self.length

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Start and length of each run of the tensor that is this rank's."""
        if not self.stacked:
            return [(self.start, self.length)]
        pieces, piece = self.num_pieces, self.start // self.length
        ends = accumulate(pieces * length for length in self.stacked)
        return [
            (end - (pieces - piece) * length, length)
            for end, length in zip(ends, self.stacked, strict=True)
        ]

    def of(self, tensor: Tensor) -> Tensor:
        """This rank's part: a view, if it lies in one run."""
        if self.zero:
            return torch.zeros_like(tensor)
        parts = [tensor.narrow(self.dim, *span) for span in self.spans]
        return parts[0] if len(parts) == 1 else torch.cat(parts, self.dim)

    def of_held(self, weight: HeldWeight, name: str) -> HeldWeight:
        """The same of a weight in a form of its own, which messages call ``name``.

        Raises:
            ConfigError: it begins or ends where the form cannot be divided.
        """
        if self.dim == 1:
            self._check_units(weight.unit_size, weight.unit, name)
        return join([weight.narrow(self.dim, *span) for span in self.spans])

    def _check_units(self, size: int, unit: str, name: str) -> None:
        if self.length % size == 0:
            return
        fewer = [n for n in range(1, self.num_pieces) if self.whole % (n * size) == 0]
        raise ConfigError(
            f"{name} has {unit} of {size} inputs; {self.num_pieces} ranks would cut through them.",
            hint=f"--tp {fewer[-1]} is possible in this respect."
            if fewer
            else f"Use --tp 1, or a model in smaller {unit}.",
        )
