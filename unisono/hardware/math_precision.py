"""Error bounds of float32 functions, as the interface that a device computes through allows.

A hardware names its interface in its facts (``math_api``); one that names none is held to OpenCL's
full profile. Sources:

- ``opencl``, ``opencl-embedded``: OpenCL C 3.0 specification, section 7.4, tables of relative error
  as ULP values, full and embedded profile. sin and cos are taken in ulps of 1.
- ``vulkan``: Vulkan specification, appendix "Vulkan Environment for SPIR-V", tables "Precision of
  core SPIR-V Instructions" and "Precision of GLSL.std.450 Instructions": exp 3 + 2 |x| ulp; log
  3 ulp, and 2^-21 inside [0.5, 2]; sin and cos 2^-11; inversesqrt 2 ulp; OpFDiv 2.5 ulp; sqrt is
  inherited from 1 / inversesqrt, tanh from exp through sinh and cosh.
- ``cuda``: CUDA C++ Programming Guide, appendix "Mathematical Functions", table of maximum ULP
  errors in single precision, without -prec-div and -prec-sqrt.
- ``ieee``: IEEE 754-2019, sections 5.4 and 9.2: division and square root are correctly rounded;
  the others as they are where faithfully rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ULP = 2.0**-23
"""Largest relative spacing of float32 numbers."""
_LARGEST = 104.0
"""Beyond it float32's exp is 0 or infinite, and so are errors that grow with its argument."""
_SATURATED = 10.0
"""Beyond it float32's tanh is 1."""


@dataclass(frozen=True, slots=True)
class FunctionError:
    """In ulps of the result, plus ``per_argument`` for each unit of the argument's size, up to
    ``largest``; or ``absolute``, whichever is more."""

    ulps: float
    per_argument: float = 0.0
    absolute: float = 0.0
    largest: float = _LARGEST


def _of_1(ulps: float) -> FunctionError:
    return FunctionError(ulps, absolute=ulps * ULP)


_OPENCL = {
    "exp": FunctionError(3.0),
    "log": FunctionError(3.0),
    "sin": _of_1(4.0),
    "cos": _of_1(4.0),
    "tanh": FunctionError(5.0),
    "rsqrt": FunctionError(2.0),
    "sqrt": FunctionError(3.0),
    "divide": FunctionError(2.5),
}
_VULKAN = {
    "exp": FunctionError(3.0, per_argument=2.0),
    "log": FunctionError(3.0, absolute=2.0**-21),
    "sin": FunctionError(0.0, absolute=2.0**-11),
    "cos": FunctionError(0.0, absolute=2.0**-11),
    # Numerator and denominator are sums of two exponentials, their quotient is rounded too; where
    # the argument is small the numerator cancels.
    "tanh": FunctionError(
        2 * 3.0 + 2.5, per_argument=2 * 2.0, absolute=(2 * 3.0 + 2.5) * ULP, largest=_SATURATED
    ),
    "rsqrt": FunctionError(2.0),
    "sqrt": FunctionError(2.0 + 2.5),
    "divide": FunctionError(2.5),
}
PRECISION: Mapping[str, Mapping[str, FunctionError]] = {
    "opencl": _OPENCL,
    "opencl-embedded": {
        **_OPENCL,
        "exp": FunctionError(4.0),
        "log": FunctionError(4.0),
        "rsqrt": FunctionError(4.0),
        "sqrt": FunctionError(4.0),
        "divide": FunctionError(3.0),
    },
    "vulkan": _VULKAN,
    "cuda": {
        "exp": FunctionError(2.0),
        "log": FunctionError(1.0),
        "sin": _of_1(2.0),
        "cos": _of_1(2.0),
        "tanh": FunctionError(2.0),
        "rsqrt": FunctionError(2.0),
        "sqrt": FunctionError(3.0),
        "divide": FunctionError(2.0),
    },
    "ieee": {
        **{name: FunctionError(1.0) for name in ("exp", "log", "tanh", "rsqrt")},
        **{name: _of_1(1.0) for name in ("sin", "cos")},
        **{name: FunctionError(0.5) for name in ("sqrt", "divide")},
    },
}

MATH_APIS = tuple(PRECISION)
"""The first is demanded of a device that names none."""
