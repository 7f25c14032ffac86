"""Stored tensors that hold several weights: matrices in one tensor, and the experts of a layer.

Knows no file and no device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

__all__ = ["GATE_UP", "FusedExperts", "MergedRows", "Split", "View", "fused_experts"]

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
    """One tensor for all experts, ``experts.gate_up_proj`` [E, rows, columns].

    Args:
        name: its last part.
        parts: matrices in the rows of an expert.
        transposed: it is stored as [E, columns, rows].
        size_of_dim: where this is given, the shape says whether it is: the size of a dimension of
            an expert's matrix [rows, columns].
        interleaved: rows of the parts take turns.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[str],
        num_experts: int,
        *,
        transposed: bool = False,
        interleaved: bool = False,
        size_of_dim: tuple[int, int] | None = None,
    ) -> None:
        self._pattern = re.compile(rf"(.*\.experts)\.{re.escape(name)}(?:[._](\w+))?")
        self._parts, self._num_experts = tuple(parts), num_experts
        self._transposed, self._interleaved = transposed, interleaved
        self._size_of_dim = size_of_dim

    def __call__(self, name: str) -> dict[str, View]:
        match = self._pattern.fullmatch(name)
        if match is None:
            return {}
        piece = match[2] or "weight"
        return {
            f"{match[1]}.{expert}.{part}.{piece}": self._view(expert, index, piece)
            for expert in range(self._num_experts)
            for index, part in enumerate(self._parts)
        }

    def _view(self, expert: int, index: int, piece: str) -> View:
        def of_expert(tensor: Tensor) -> Tensor:
            if tensor.dim() < 2 or tensor.shape[0] != self._num_experts:
                return tensor  # The check of shapes says what is wrong.
            own = tensor[expert]
            if piece == "weight" and own.dim() == 2 and self._is_transposed(own):
                own = own.T
            count = len(self._parts)
            if self._interleaved:
                return own[index::count]
            size = own.shape[0] // count
            return own[index * size : (index + 1) * size]

        return of_expert

    def _is_transposed(self, matrix: Tensor) -> bool:
        if self._size_of_dim is None:
            return self._transposed
        dim, size = self._size_of_dim
        return matrix.shape[dim] != size == matrix.shape[1 - dim]


def fused_experts(
    num_experts: int,
    *,
    transposed: bool = False,
    interleaved: bool = False,
    hidden_size: int | None = None,
) -> tuple[FusedExperts, FusedExperts]:
    """``gate_up_proj`` and ``down_proj`` of all experts, as transformers has them in memory.

    Args:
        hidden_size: where it is given, the shape says whether matrices are transposed.
    """
    of_up, of_down = (None, None) if hidden_size is None else ((1, hidden_size), (0, hidden_size))
    return (
        FusedExperts(
            "gate_up_proj",
            ("gate_proj", "up_proj"),
            num_experts,
            transposed=transposed,
            interleaved=interleaved,
            size_of_dim=of_up,
        ),
        FusedExperts(
            "down_proj", ("down_proj",), num_experts, transposed=transposed, size_of_dim=of_down
        ),
    )
