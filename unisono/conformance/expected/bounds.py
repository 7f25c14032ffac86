"""Bounds of a result's distance from the exact one: derived from dtypes and lengths, never tuned.

The standard model of floating-point arithmetic (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., 2002, section 2.2): fl(a op b) = (a op b)(1 + d), |d| <= u, where u is the unit
roundoff of the format. A sum of n products formed in any order then has the error bound
gamma_n = n u / (1 - n u) times the sum of absolute products (ibid., section 3.1). Rounding errors
behave like independent ones of mean zero, and with that assumption the bound is
exp(lambda sqrt(n) u + n u^2 / (1 - u)) - 1, except with probability 2 exp(-lambda^2 (1 - u)^2 / 2)
for each term of the sum (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis,
SIAM J. Sci. Comput. 41, 2019, theorem 2.4). With lambda = 9 that is 5e-18 a term.

Results of 16 bits are rounded once from a float32 sum; the same sums in 16 bits, or with inputs
cut to 10 bits of fraction, leave these bounds. What functions may err by is in ``math_apis``.
Results below the smallest normal number may be flushed to zero, but not in float16, whose smallest
normal number is as large as 6e-5.
"""

from __future__ import annotations

import math

import torch

LAMBDA = 9.0
U32 = 2.0**-24


def unit_roundoff(dtype: torch.dtype) -> float:
    """Largest relative error of rounding to nearest."""
    return torch.finfo(dtype).eps / 2


def gamma(n: int, u: float) -> float:
    """The deterministic bound of n roundings."""
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def probable(n: int, u: float) -> float:
    """The probabilistic bound of n roundings."""
    return math.expm1(LAMBDA * math.sqrt(n) * u + n * u * u / (1 - u))


def sum_error(n: int, u: float = U32) -> float:
    """Relative to the sum of absolute terms: the lower of both bounds."""
    return min(gamma(n, u), probable(n, u))


def underflow(dtype: torch.dtype) -> float:
    """Absolute error of results too small for a normal number."""
    if dtype == torch.float16:
        return torch.finfo(dtype).smallest_normal * unit_roundoff(dtype) * 2
    return torch.finfo(dtype).smallest_normal
