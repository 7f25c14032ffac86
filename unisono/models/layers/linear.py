"""Linear layers and embeddings. What they compute is the hardware's op."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from unisono.core.weight_format import WeightFormat
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.standard import AdapterParts, StandardEmbedding, StandardLinear
from unisono.hardware.weights.held_weight import HeldWeight
from unisono.hardware.weights.stacked_weight import join
from unisono.models.layers.described import Described
from unisono.models.layers.split import Split


def unfilled(*shape: int) -> nn.Parameter:
    """A parameter with a shape and no memory yet."""
    return nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)


class Addition(Protocol):
    """The adapters of a layer."""

    @property
    def parts(self) -> AdapterParts:
        """All that are loaded."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Y [T, N], to which is added what those of this step make of x [T, K]."""


class Linear(Described):
    """y = x W^T + b. ``parts`` names the checkpoint's matrices stacked in W, with their rows.

    Args:
        split: how W divides among ranks, or how each of its parts does; None: it is whole on each.
        quantizable: True lets ``--weights`` round W. A small one that decides much, such as a
            router's, stays as it is.
        float32: True holds W and b in float32, whatever dtype the model has.
    """

    bias: Tensor | None
    takes_stored_forms: ClassVar[bool] = True
    """True where its weight may stay as a quantised checkpoint holds it."""
    takes_adapters: ClassVar[bool] = True
    """True where all that uses the weight is ``forward``, so that an adapter may add to it."""

    def __init__(
        self,
        ops: PortableOps,
        num_inputs: int,
        parts: Mapping[str, int],
        *,
        split: Split | Mapping[str, Split] | None,
        bias: bool = False,
        quantizable: bool = True,
        float32: bool = False,
    ) -> None:
        super().__init__()
        self.ops = ops
        self.parts = dict(parts)
        self.splits = _by_part(self.parts, split)
        self.quantizable = quantizable
        self.float32_parameters: tuple[str, ...] = ("weight", "bias") if float32 else ()
        self.shape = (sum(parts.values()), num_inputs)
        self.weight: Any = unfilled(*self.shape)
        self.bias = unfilled(self.shape[0]) if bias else None
        self.addition: Addition | None = None
        """The adapters of the layer; None: there are none."""
        self._taken: dict[str, HeldWeight | None] = {}

    def forward(self, x: Tensor) -> Tensor:
        y = self.ops.linear(x, self.weight, self.bias)
        return y if self.addition is None else self.addition(x, y)

    def standard(self) -> StandardLinear | None:
        return StandardLinear(self.weight, self.bias, self._adapters, self._added)

    def _adapters(self) -> AdapterParts:
        return {} if self.addition is None else self.addition.parts

    def _added(self, x: Tensor, y: Tensor) -> Tensor:
        return y if self.addition is None else self.addition(x, y)

    def rows(self, part: str) -> slice:
        """Rows of W that a part fills."""
        start = 0
        for name, count in self.parts.items():
            if name == part:
                return slice(start, start + count)
            start += count
        raise KeyError(part)

    def take(self, part: str, weight: HeldWeight | None = None) -> None:
        """Take a part of W: ``weight``, or what its rows of the parameter have been filled with."""
        self._taken[part] = weight

    @property
    def is_complete(self) -> bool:
        """True where all parts of W are there, which is not prepared yet."""
        return len(self._taken) == len(self.parts)

    def prepare(self, format: WeightFormat | None = None) -> None:
        """Give the complete weight the form its hardware likes, rounded to ``format`` where there
        is one."""
        held = [weight for part in self.parts if (weight := self._taken.get(part)) is not None]
        self._taken = {}
        if held:
            self.hold(self.ops.prepare_quantized(join(held)))
            return
        prepared = self.ops.prepare_linear(self.weight, format)
        if prepared is not self.weight:
            self.hold(prepared)

    def hold(self, prepared: Any) -> None:
        """Take a prepared weight in the parameter's place."""
        self._parameters.pop("weight", None)
        self.weight = prepared

    def release(self) -> None:
        """Be without a weight again."""
        self._taken = {}
        self.weight = unfilled(*self.shape)

    @property
    def is_prepared(self) -> bool:
        """True where the weight is no parameter any more, but in a form of the hardware's."""
        return "weight" not in self._parameters


def _by_part(
    parts: Mapping[str, int], split: Split | Mapping[str, Split] | None
) -> Mapping[str, Split]:
    if split is None:
        return {}
    return dict.fromkeys(parts, split) if isinstance(split, str) else split


class Head(Linear):
    """The layer whose outputs are logits, float32."""

    takes_adapters = False

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


class Embedding(Described):
    """Rows of a table [V, H] by token id."""

    def __init__(self, ops: PortableOps, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.ops = ops
        self.weight: Any = unfilled(vocab_size, hidden_size)

    def hold(self, table: Tensor | HeldWeight) -> None:
        """Take a table as it is in the parameter's place."""
        self._parameters.pop("weight", None)
        if isinstance(table, Tensor):
            table = nn.Parameter(table, requires_grad=False)
        self.weight = table

    def release(self) -> None:
        """Be without a table again."""
        self.weight = unfilled(*self.weight.shape)

    def forward(self, token_ids: Tensor) -> Tensor:
        return self.ops.embedding(token_ids, self.weight)

    def standard(self) -> StandardEmbedding | None:
        return StandardEmbedding(self.weight)


class ScaledEmbedding(Embedding):
    """Rows times a number."""

    def __init__(self, ops: PortableOps, vocab_size: int, hidden_size: int, scale: float) -> None:
        super().__init__(ops, vocab_size, hidden_size)
        self.scale = scale

    def forward(self, token_ids: Tensor) -> Tensor:
        return super().forward(token_ids) * self.scale
