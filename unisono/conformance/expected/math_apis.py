"""Bounds of functions of the device that this process checks: by the interface that it names."""

from __future__ import annotations

from typing import overload

from torch import Tensor

from unisono.hardware.math_precision import MATH_APIS, PRECISION, ULP

_DEFAULT = MATH_APIS[0]
_chosen = _DEFAULT


def use_math_api(name: str | None) -> None:
    """Hold what this process checks to the interface ``name``: a process checks one device."""
    global _chosen
    _chosen = name or _DEFAULT


def math_api() -> str:
    """The interface that bounds come from."""
    return _chosen


@overload
def function_error(name: str) -> float: ...
@overload
def function_error(name: str, at: Tensor) -> Tensor: ...
def function_error(name: str, at: Tensor | None = None) -> float | Tensor:
    """Relative error of a float32 function: at those arguments, or at its worst ones."""
    error = PRECISION[_chosen][name]
    if at is None:
        return (error.ulps + error.per_argument * error.largest) * ULP
    sizes = at.double().abs().nan_to_num(0.0).clamp(max=error.largest)
    return (error.ulps + error.per_argument * sizes) * ULP


def absolute_error(name: str) -> float:
    """Absolute error allowed where a result is too small, or cancels too much."""
    return PRECISION[_chosen][name].absolute
