"""One call of an ATen op, with its inputs on the host: done again, and how exact it must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from unisono.conformance.expected.bounds import U32, sum_error, underflow, unit_roundoff
from unisono.conformance.reproductions.recipes import map_tensors

_SUMS = ("mm", "addmm", "bmm", "baddbmm", "linear", "matmul", "mv", "dot", "sum", "mean", "cumsum")
_OF_ONE = ("sum", "mean", "cumsum", "softmax", "log_softmax", "logsumexp")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Error that an entry x may have: relative * |x| + absolute."""

    relative: float
    absolute: float | Tensor

    def exceeded(self, got: Tensor, want: Tensor) -> Tensor:
        """Mask of the entries that are further off; both are float64."""
        allowed = self.relative * want.abs() + self.absolute
        same = (got == want) | (got.isnan() & want.isnan())
        return ~same & ~((got - want).abs() <= allowed)


@dataclass(frozen=True, slots=True)
class OpCall:
    """``args`` and ``kwargs`` hold copies on the host."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> OpCall | None:
        """None where the inputs cannot be copied."""
        try:
            return cls(func, map_tensors(args, _to_host), map_tensors(kwargs, _to_host))
        except Exception:
            return None

    @property
    def name(self) -> str:
        """Such as ``addmm``, without namespace, overload and underscores."""
        return str(self.func._schema.name).partition("::")[2].strip("_")

    def tensors(self) -> list[Tensor]:
        return [x for x in tree_leaves((self.args, self.kwargs)) if isinstance(x, Tensor)]

    def on_host(self, *, wide: bool = False) -> list[Tensor]:
        """The op's results on the host; ``wide`` in float64."""
        change = _widened if wide else torch.clone
        kwargs = host_arguments(self.kwargs, wide=wide)
        result = self.func(*map_tensors(self.args, change), **map_tensors(kwargs, change))
        return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]

    def tolerance(self, dtype: torch.dtype) -> Tolerance:
        """The tolerance of any device that rounds as ``bounds`` says; results are of ``dtype``."""
        if not dtype.is_floating_point:
            return Tolerance(0.0, 0.0)
        relative = 2 * unit_roundoff(dtype) + 16 * U32
        absolute: float | Tensor = underflow(dtype)
        if self.name in _SUMS:
            absolute = absolute + sum_error(self._num_terms()) * self._magnitudes()
        if self.name in ("sin", "cos"):
            absolute = absolute + 8 * U32
        if self.name.endswith("backward") or "norm" in self.name:
            absolute = absolute + 16 * U32 * self._largest()
        if self.name in _OF_ONE or "attention" in self.name:
            relative += 8 * sum_error(self._num_terms())
        return Tolerance(relative, absolute)

    def _largest(self) -> float:
        """The largest magnitude of all inputs: results that cancel are as exact as that allows."""
        floats = [x.double().nan_to_num(0.0, 0.0, 0.0) for x in self.tensors() if x.numel()]
        return max([float(x.abs().max()) for x in floats], default=0.0)

    def _magnitudes(self) -> Tensor:
        """The results when every term of a sum is positive."""
        args = map_tensors(self.args, lambda tensor: _widened(tensor).abs())
        return OpCall(self.func, args, self.kwargs).on_host(wide=True)[0].double().nan_to_num()

    def _num_terms(self) -> int:
        """Length of the longest sum there can be."""
        tensors = self.tensors()
        if self.name in _OF_ONE:
            return max(1, tensors[0].numel())
        return max([1, *(size for tensor in tensors for size in tensor.shape)]) + 1


def _to_host(tensor: Tensor) -> Tensor:
    """A copy with the same layout."""
    if tensor.numel() == 0 or any(s == 0 for s in tensor.stride()):
        return tensor.detach().cpu().clone()
    same = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return same.copy_(tensor.detach())


def _widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.dtype.is_floating_point else tensor.clone()


def host_arguments(kwargs: dict[str, Any], *, wide: bool) -> dict[str, Any]:
    """Keyword arguments for the host; ``wide`` makes dtypes among them float64."""
    changed = dict(kwargs)
    for key, value in kwargs.items():
        if isinstance(value, torch.device):
            changed[key] = torch.device("cpu")
        elif key == "pin_memory":
            changed[key] = None
        elif wide and isinstance(value, torch.dtype) and value.is_floating_point:
            changed[key] = torch.float64
    return changed
