"""Counts what torch is asked to do: operations that do work, and waits for the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_WAITING_CALLS = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__")
_WAITING_OPS = (
    *("_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal", "is_nonzero"),
    *("unique_consecutive", "unique_dim", "_unique2", "repeat_interleave.Tensor"),
)
"""Whose result, or the size of whose result, the host must know."""


class WaitsForDevice(AssertionError):
    """The host would have to wait for the device."""


class _NeverWaits(TorchFunctionMode):
    """Refuses what reads a tensor on the host. (On the CPU some of it asks the dispatcher
    nothing.)"""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _WAITING_CALLS and args and isinstance(args[0], Tensor):
            raise WaitsForDevice(name)
        return func(*args, **(kwargs or {}))


class _Counting(TorchDispatchMode):
    """Counts operations that write memory, as torch is asked for them; refuses those that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        overload = f"{name}.{func._schema.overload_name}"
        if name in _WAITING_OPS or overload in _WAITING_OPS or _is_masked(name, args):
            raise WaitsForDevice(overload)
        out = func(*args, **(kwargs or {}))
        makes = not _storages(out) <= _storages((args, kwargs))
        if (func._schema.is_mutable or makes) and "empty" not in name and name != "detach_":
            self.counts[name] += 1
        return out


def _is_masked(name: str, args: Sequence[Any]) -> bool:
    """True where an index is a mask, whose size is that of what is true."""
    if name not in ("index", "index_put", "index_put_"):
        return False
    return any(index is not None and index.dtype == torch.bool for index in args[1])


def _storages(values: Any) -> set[int]:
    return {x.untyped_storage()._cdata for x in tree_leaves(values) if isinstance(x, Tensor)}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the operations that are asked for inside and do work. A view does none, nor does
    making an uninitialised tensor.

    Raises:
        WaitsForDevice: (inside) an operation that cannot go on until the device is done.
    """
    with _Counting() as counting, _NeverWaits():
        yield counting.counts
