"""The device's ops, watched: none may change its inputs but those that are there to do so."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from unisono.conformance.expected.comparing import Mismatch

_MAY_CHANGE = frozenset(
    ("kv_write", "latent_write", "causal_conv", "gated_delta_rule", "state_space", "all_reduce")
)
_LARGEST = 1 << 28
"""Bytes of an input beyond which it is not looked at: copying it to the host takes long."""


class WatchedOps:
    """Stands for an op table; each call of an op compares its inputs with what they were."""

    def __init__(self, ops: Any) -> None:
        self._ops = ops
        self.watching = True
        """False while something else looks at each op of torch."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ops, name)
        if name.startswith("_") or name in _MAY_CHANGE or not callable(found):
            return found
        return functools.partial(self._call, found)

    def _call(self, op: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if not self.watching:
            return op(*args, **kwargs)
        before = [
            (position, name, tensor, _bytes(tensor))
            for position, name, tensor in _inputs(op, args, kwargs)
        ]
        result = op(*args, **kwargs)
        for position, name, tensor, were in before:
            if not torch.equal(_bytes(tensor), were):
                raise Mismatch(f"changes its input {position} ({name})")
        return result


def _inputs(
    op: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[int, str, Tensor]]:
    """(position counted from 1, name, tensor), also of tensors in tuples and in steps."""
    try:
        bound = inspect.signature(op).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):  # no signature, or one that does not fit: the call says so
        bound = {str(i): value for i, value in enumerate((*args, *kwargs.values()))}
    for position, (name, value) in enumerate(bound.items(), 1):
        inside = [getattr(value, "slots", None)] if _is_step(value) else tree_leaves(value)
        for leaf in inside:
            if isinstance(leaf, Tensor) and _can_be_read(leaf):
                yield position, name, leaf


def _is_step(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _can_be_read(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.nbytes <= _LARGEST


def _bytes(tensor: Tensor) -> Tensor:
    """A copy on the host, bit by bit, so that NaN equals itself."""
    copy = tensor.detach().to("cpu", copy=True).contiguous()
    return copy.reshape(-1).view(torch.uint8)
