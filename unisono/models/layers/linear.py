"""Linear layers and embeddings. What they compute is the hardware's op."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unisono.core.weight_format import WeightFormat
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.weights.compact_weight import CompactWeight, HeldWeight
from unisono.models.layers.split import Split

__all__ = ["Embedding", "Head", "Linear", "unfilled"]


def unfilled(*shape: int) -> nn.Parameter:
    """A parameter with a shape and no memory yet."""
    return nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)


class Linear(nn.Module):
    """y = x W^T + b. ``parts`` names the checkpoint's matrices stacked in W, with their rows.

    Args:
        split: how W divides among ranks, or how each of its parts does; None: it is whole on each.
        quantizable: whether ``--weights`` may round W; small ones that decide much stay as they
            are, such as a router's.
    """

    bias: Tensor | None
    takes_stored_forms: ClassVar[bool] = True
    """Whether its weight may stay as a quantised checkpoint holds it."""

    def __init__(
        self,
        ops: PortableOps,
        num_inputs: int,
        parts: Mapping[str, int],
        *,
        split: Split | Mapping[str, Split] | None,
        bias: bool = False,
        quantizable: bool = True,
    ) -> None:
        super().__init__()
        self.ops = ops
        self.parts = dict(parts)
        self.splits = _by_part(self.parts, split)
        self.quantizable = quantizable
        self.shape = (sum(parts.values()), num_inputs)
        self.weight: Any = unfilled(*self.shape)
        self.bias = unfilled(self.shape[0]) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return self.ops.linear(x, self.weight, self.bias)

    def rows(self, part: str) -> slice:
        """Which rows of W a part fills."""
        start = 0
        for name, count in self.parts.items():
            if name == part:
                return slice(start, start + count)
            start += count
        raise KeyError(part)

    def prepare(self, format: WeightFormat | None = None) -> None:
        """Give the finished weight the form its hardware likes, quantised where asked."""
        self._hold(self.ops.prepare_linear(self.weight, format if self.quantizable else None))

    def prepare_quantized(self, weight: HeldWeight) -> None:
        """The same for a weight that comes quantised."""
        self._hold(self.ops.prepare_quantized(weight))

    def _hold(self, prepared: Any) -> None:
        if prepared is not self.weight:
            self.hold(prepared)

    def hold(self, prepared: Any) -> None:
        """Take a prepared weight in the parameter's place."""
        self._parameters.pop("weight", None)
        self.weight = prepared

    @property
    def is_prepared(self) -> bool:
        """Whether the weight is no parameter any more, but in a form of the hardware's."""
        return "weight" not in self._parameters


def _by_part(
    parts: Mapping[str, int], split: Split | Mapping[str, Split] | None
) -> Mapping[str, Split]:
    if split is None:
        return {}
    return dict.fromkeys(parts, split) if isinstance(split, str) else split


class Head(Linear):
    """The layer whose outputs are logits, float32."""

    def __init__(
        self, ops: PortableOps, hidden_size: int, vocab_size: int, *, bias: bool = False
    ) -> None:
        super().__init__(ops, hidden_size, {"lm_head": vocab_size}, split="vocabulary", bias=bias)

    def narrow(self, num_rows: int) -> None:
        """Become a rank's, of so many logits. Called before there are weights."""
        self.parts, self.shape = dict.fromkeys(self.parts, num_rows), (num_rows, self.shape[1])
        self.weight = unfilled(*self.shape)
        self.bias = None if self.bias is None else unfilled(num_rows)

    def forward(self, x: Tensor) -> Tensor:
        return self.ops.logits(x, self.weight, self.bias)


class Embedding(nn.Module):
    """Rows of a table [V, H] by token id."""

    def __init__(self, ops: PortableOps, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.ops = ops
        self.weight: Any = unfilled(vocab_size, hidden_size)

    def hold(self, table: CompactWeight) -> None:
        """Take a table of fewer bits in the parameter's place."""
        self._parameters.pop("weight", None)
        self.weight = table

    def forward(self, token_ids: Tensor) -> Tensor:
        return self.ops.embedding(token_ids, self.weight)
