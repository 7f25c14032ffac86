"""Adds the adapters of a step to one linear layer.

All adapters that are loaded lie in one pair of matrices, one behind the other, so that a step of
any of them is as many operations as a step of one: every token meets all, and keeps what its own
gives. Each product is the hardware's ``linear``, so a row's result is as independent of the others
of its step as that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisono.hardware.ops.standard import AdapterParts, LowRankPart
from unisono.models.adapters.adapter_file import LowRank
from unisono.models.layers.linear import Linear
from unisono.models.step import StepAdapters


class AdapterRows:
    """The adapter of each token of the step, by number; refilled before each forward pass."""

    def __init__(self) -> None:
        self.active = False
        """True where any token has one."""
        self.has_fused = False
        """True where modules run as one op in steps without adapters, and then round otherwise."""
        self.version = 0
        """Counts how often adapters were loaded or removed."""
        self._numbers: Tensor | None = None
        self._masks: dict[int, Tensor] = {}

    def refill(self, numbers: Tensor | None) -> None:
        """``numbers`` int64 [T], 0 for a token without an adapter; None: there is no other."""
        self.active = numbers is not None
        self._numbers = numbers
        self._masks = {}

    def of_step(self) -> StepAdapters | None:
        """The same for ops that run whole modules."""
        return None if self._numbers is None else StepAdapters(self._numbers, self.version)

    def mask(self, columns: Tensor) -> Tensor:
        """bool [T, C]: which of the columns, each of the adapter with that number, are a
        token's."""
        mask = self._masks.get(id(columns))
        if mask is None:
            assert self._numbers is not None
            mask = self._masks[id(columns)] = self._numbers.unsqueeze(1) == columns
        return mask


@dataclass(frozen=True, slots=True)
class _Stacked:
    """All adapters of a layer; C columns, those of each part one behind the other."""

    down: Any
    """[C, K], prepared."""
    columns: Tensor
    """int64 [C]: the number of the adapter that each is of."""
    ups: list[tuple[slice, slice, Any]]
    """For each part its rows in the layer, its columns, and [rows, columns], prepared."""


class LayerAdapters:
    """The adapters of one linear layer.

    Args:
        columns: the tensor for such numbers of columns, shared by layers that are alike.
    """

    def __init__(self, linear: Linear, rows: AdapterRows, columns: Any) -> None:
        self._linear, self._rows, self._columns = linear, rows, columns
        self._own: dict[int, Mapping[str, LowRank]] = {}
        self._stacked: _Stacked | None = None
        """Made when it is first needed: a hardware may add adapters by itself."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """x [T, K], and y [T, N] that the layer makes of it, to which is added."""
        if not self._own or not self._rows.active:
            return y
        if self._stacked is None:
            self._stacked = self._stack()
        stacked = self._stacked
        ops, mask = self._linear.ops, self._rows.mask(stacked.columns)
        inner = ops.linear(x, stacked.down)
        inner = torch.where(mask, inner, inner.new_zeros(()))
        for rows, columns, up in stacked.ups:
            y[:, rows] += ops.linear(inner[:, columns], up)
        return y

    @property
    def parts(self) -> AdapterParts:
        """All that are loaded."""
        rows = self._linear.rows
        return {
            number: [LowRankPart(rows(part), *pair) for part, pair in own.items()]
            for number, own in self._own.items()
        }

    def put(self, number: int, parts: Mapping[str, LowRank] | None) -> None:
        """Give the adapter of that number these parts; None takes it away."""
        self._own.pop(number, None)
        if parts is not None:
            self._own[number] = parts
        self._stacked = None

    def _stack(self) -> _Stacked:
        downs: list[Tensor] = []
        numbers: list[int] = []
        ups: list[tuple[slice, slice, Any]] = []
        for part in self._linear.parts:
            own = [(number, p[part]) for number, p in self._own.items() if part in p]
            if not own:
                continue
            start = len(numbers)
            for number, pair in own:
                downs.append(pair.down)
                numbers += [number] * len(pair.down)
            up = torch.cat([pair.up for _, pair in own], 1)
            columns = slice(start, len(numbers))
            ups.append((self._linear.rows(part), columns, self._linear.ops.prepare_linear(up)))
        down = self._linear.ops.prepare_linear(torch.cat(downs))
        return _Stacked(down, self._columns(tuple(numbers)), ups)
