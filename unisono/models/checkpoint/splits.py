"""Stored tensors that hold several weights: matrices in one tensor, and the experts of a layer.

Knows no file and no device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

_PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
_FUSED = re.compile(rf"(.*\.experts)\.({'|'.join(_PARTS)})(?:[._](\w+))?")

View = Callable[[Tensor], Tensor]
"""A part of a stored tensor, without a copy."""
Split = Callable[[str], dict[str, View]]
"""Name of a stored tensor, renamed -> the weights it holds by our names; empty where it holds one
under its own name."""


class MergedRows:
    """Matrices one below the other, ``qkv_proj.weight`` [sum of rows, H]; biases, and scales with
    a share of the rows, alike."""

    def __init__(self, module: str, rows: Mapping[str, int]) -> None:
        self._pattern = re.compile(rf"(.*\.){re.escape(module)}\.([^.]+)")
        self._bounds: dict[str, tuple[int, int]] = {}
        self._total = 0
        for name, count in rows.items():
            self._bounds[name] = self._total, self._total + count
            self._total += count

    def __call__(self, name: str) -> dict[str, View]:
        match = self._pattern.fullmatch(name)
        if match is None:
            return {}
        return {f"{match[1]}{part}.{match[2]}": self._view(part) for part in self._bounds}

    def _view(self, part: str) -> View:
        start, stop = self._bounds[part]

        def rows(tensor: Tensor) -> Tensor:
            count = tensor.shape[0] if tensor.dim() else 0
            return tensor[start * count // self._total : stop * count // self._total]

        return rows


GATE_UP = MergedRows("gate_up_proj", {"gate_proj": 1, "up_proj": 1})


class FusedExperts:
    """One tensor for all experts of a layer, ``experts.gate_up_proj`` [E, rows, H] and
    ``experts.down_proj`` [E, H, columns], as transformers has them in memory.

    Args:
        transposed: the last two dimensions are in the other order.
        hidden_size: where it is given, the shape says whether they are.
        interleaved: rows of gate and up take turns.
    """

    def __init__(
        self,
        num_experts: int,
        *,
        transposed: bool = False,
        interleaved: bool = False,
        hidden_size: int | None = None,
    ) -> None:
        self._num_experts, self._hidden_size = num_experts, hidden_size
        self._transposed, self._interleaved = transposed, interleaved

    def __call__(self, name: str) -> dict[str, View]:
        match = _FUSED.fullmatch(name)
        if match is None:
            return {}
        parts, piece = _PARTS[match[2]], match[3] or "weight"
        return {
            f"{match[1]}.{expert}.{part}.{piece}": self._view(expert, parts, part, piece)
            for expert in range(self._num_experts)
            for part in parts
        }

    def _view(self, expert: int, parts: Sequence[str], part: str, piece: str) -> View:
        index, count = parts.index(part), len(parts)

        def of_expert(tensor: Tensor) -> Tensor:
            if tensor.dim() < 2 or tensor.shape[0] != self._num_experts:
                return tensor  # The check of shapes says what is wrong.
            own = tensor[expert]
            if piece == "weight" and own.dim() == 2 and self._is_transposed(own, part):
                own = own.T
            if self._interleaved:
                return own[index::count]
            size = own.shape[0] // count
            return own[index * size : (index + 1) * size]

        return of_expert

    def _is_transposed(self, matrix: Tensor, part: str) -> bool:
        if self._hidden_size is None:
            return self._transposed
        dim = 0 if part == "down_proj" else 1
        return matrix.shape[dim] != self._hidden_size == matrix.shape[1 - dim]
