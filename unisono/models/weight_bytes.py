"""Counts the bytes of weights, and those that a step reads."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import torch
from torch import nn

from unisono.hardware.weights.block_weight import BlockWeight
from unisono.hardware.weights.coded_weight import CodedWeight
from unisono.hardware.weights.stacked_weight import StackedWeight
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Embedding, Linear
from unisono.models.layers.moe import Experts


def step_bytes(model: Decoder, num_tokens: int = 1) -> int:
    """Bytes of all weights that a step of so many tokens reads, in the form they are held in; of
    experts, those that so many tokens take on average where all are equally likely."""
    experts = [module for module in model.modules() if isinstance(module, Experts)]
    unread = sum(_bytes_in(some) * (1.0 - some.shape.share_taken(num_tokens)) for some in experts)
    return held_bytes(model) - int(unread)


def held_bytes(model: Decoder) -> int:
    """Bytes of all weights but embeddings that are not the head too."""
    return _bytes_in(model, {id(table.weight) for table in tables_of(model)})


def table_bytes(model: Decoder) -> int:
    """Bytes of the embeddings, but for those that are the head's too."""
    tables, head = [table.weight for table in tables_of(model)], model.lm_head.weight
    shared = any(_is_one_memory(table, head) for table in tables)
    return sum(map(_num_bytes, tables)) - (_num_bytes(head) if shared else 0)


def _is_one_memory(table: Any, head: Any) -> bool:
    """True where the head is the table, or some of its rows, and no copy in another form."""
    own, others = (w.data if isinstance(w, BlockWeight) else w for w in (table, head))
    if not isinstance(own, torch.Tensor) or not isinstance(others, torch.Tensor):
        return False
    # Not its address: a device written in Python has none.
    return own.untyped_storage()._cdata == others.untyped_storage()._cdata


def are_looked_up(model: Decoder) -> bool:
    """True where linear weights are held as codes, for which there are no native products."""
    return any(_is_looked_up(m.weight) for m in model.modules() if isinstance(m, Linear))


def _is_looked_up(weight: Any) -> bool:
    if isinstance(weight, StackedWeight):
        return any(map(_is_looked_up, weight.parts))
    return isinstance(weight, CodedWeight)


def tables_of(model: Decoder) -> list[Embedding]:
    """All embeddings, that of the vocabulary first."""
    return [module for module in model.modules() if isinstance(module, Embedding)]


def _bytes_in(module: nn.Module, apart_from: Set[int] = frozenset()) -> int:
    linear = [part for part in module.modules() if isinstance(part, Linear)]
    own = {id(part.weight) for part in linear} | apart_from
    rest = sum(parameter.nbytes for parameter in module.parameters() if id(parameter) not in own)
    return rest + sum(_num_bytes(part.weight) for part in linear)


def _num_bytes(weight: Any) -> int:
    return int(weight.nbytes if isinstance(weight, torch.Tensor) else weight.num_bytes)
