"""The division of layers among the ranks of one model, which they state as data.

A layer says so in attributes of these names, which ``models/parallel.py`` reads:

- ``splits`` gives the division of each parameter, or part of a linear layer. One that it does not
  name is whole on every rank.
- ``stacked`` gives this rank's rows of each piece along dimension 0, where each divides by itself.
- ``gives_term`` is true where the layer ends in a linear layer split by input, so that a rank's
  output is one term of a sum.
- ``narrow`` is a method of a layer whose split is ``vocabulary``: given a number of outputs, it
  makes the layer a rank's, before there are weights.
- ``mean_of_ranks`` is None until the ranks are connected, then a function: a layer calls it with
  float32 numbers of its own and gets their mean over the ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from torch import nn

Split = Literal["out", "kv", "in", "vocabulary"]
"""``out`` divides dimension 0 equally. ``kv`` does the same by key-value head; where heads are
fewer than ranks, several ranks hold the same one. ``in`` divides dimension 1 equally; a bias is
rank 0's. ``vocabulary`` divides dimension 0, and the last rank may hold less."""


def split_of(module: nn.Module, name: str) -> Split | None:
    """The division of a parameter, or of a part of a linear layer; None: it is whole."""
    split: Split | None = getattr(module, "splits", {}).get(name)
    return split


def stacked_in(module: nn.Module) -> tuple[int, ...]:
    """Rows of each piece that divides by itself; empty: the parameter is one piece."""
    stacked: tuple[int, ...] = getattr(module, "stacked", ())
    return stacked


def gives_term(module: nn.Module) -> bool:
    """True where the module's output is one term of a sum over the ranks."""
    return getattr(module, "gives_term", False)


def terms_of(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules in ``module`` whose outputs are terms. The sum is behind the module and
    not behind its last linear layer, so that a hardware may run the module as one op."""
    for child in module.children():
        if gives_term(child):
            yield child
        else:
            yield from terms_of(child)


def of_vocabulary(model: nn.Module) -> list[Any]:
    """The layers in ``model`` of whose outputs each rank has some tokens'."""
    return [
        module
        for module in model.modules()
        if "vocabulary" in getattr(module, "splits", {}).values()
    ]


def averaging(model: nn.Module) -> list[Any]:
    """The layers in ``model`` that need a mean over the ranks."""
    return [module for module in model.modules() if hasattr(module, "mean_of_ranks")]
