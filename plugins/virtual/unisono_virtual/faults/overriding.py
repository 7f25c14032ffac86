"""Changing what an op does on the device, in a few lines.

The functions given here see CPU tensors over the device's own bytes; what they write is written
on the device, and new tensors that they return are moved there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

Kernel = Callable[..., Any]
_library: Any = torch.library
_libraries: list[Any] = []


def around(*names: str) -> Callable[[Kernel], Kernel]:
    """The function is called in place of each op, as ``function(op, *arguments)``; names have
    overloads after a dot, ``.default`` left out."""

    def register(function: Kernel) -> Kernel:
        for name in names:
            _implement(name, function)
        return function

    return register


def after(*names: str) -> Callable[[Callable[[Tensor], Any]], Kernel]:
    """The function changes the (first) result in place."""

    def register(function: Callable[[Tensor], Any]) -> Kernel:
        def run(op: Kernel, *arguments: Any, **options: Any) -> Any:
            result = op(*arguments, **options)
            function(result[0] if isinstance(result, tuple) else result)
            return result

        return around(*names)(run)

    return register


def before(*names: str) -> Callable[[Callable[[Tensor], Tensor]], Kernel]:
    """The function gives another tensor for each one that the op reads."""

    def register(function: Callable[[Tensor], Tensor]) -> Kernel:
        def run(op: Kernel, *arguments: Any, **options: Any) -> Any:
            return op(*tree_map_only(Tensor, function, arguments), **options)

        return around(*names)(run)

    return register


def _implement(name: str, function: Kernel) -> None:
    packet, _, overload = name.partition(".")
    op = getattr(getattr(torch.ops.aten, packet), overload or "default")
    if op._schema.name != f"aten::{packet}":
        raise ValueError(name)
    library = _library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.impl(name, _kernel(op, function), "PrivateUse1", allow_override=True)
    _libraries.append(library)


def _kernel(op: Any, function: Kernel) -> Kernel:
    def kernel(*arguments: Any, **options: Any) -> Any:
        originals: dict[int, Tensor] = {}
        aliases: dict[int, Tensor] = {}

        def alias(tensor: Tensor) -> Tensor:
            if tensor.device.type == "cpu":
                return tensor
            if id(tensor) not in aliases:
                made = torch.ops.unisono_virtual.host_alias(tensor)
                aliases[id(tensor)], originals[id(made)] = made, tensor
            return aliases[id(tensor)]

        def bring(tensor: Tensor) -> Tensor:
            return originals[id(tensor)] if id(tensor) in originals else tensor.to(device)

        given = tree_map_only(Tensor, alias, arguments), tree_map_only(Tensor, alias, options)
        device = next((tensor.device for tensor in originals.values()), torch.device("cpu"))
        return tree_map_only(Tensor, bring, function(op, *given[0], **given[1]))

    return kernel
