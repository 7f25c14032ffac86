"""Counter-based random numbers: a pure function of (seed, position), with no state to carry.

Because nothing is consumed in order, the number drawn for position k is the same alone, in any
batch, after preemption and when a stream resumes on another machine.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15


def _mix(z: int) -> int:
    """The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable PRNGs, OOPSLA 2014)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _hash(seed: int, counter: int) -> int:
    key = _mix((seed + _GOLDEN_GAMMA) & _MASK)
    return _mix((key + (counter + 1) * _GOLDEN_GAMMA) & _MASK)


def uniform(seed: int, position: int) -> float:
    """One number in [0, 1), a multiple of 2**-53."""
    return (_hash(seed, position) >> 11) * 2.0**-53


def derive_seed(seed: int, index: int) -> int:
    """The seed of the ``index``-th of several answers to one request; index 0 keeps the seed."""
    return seed if index == 0 else _hash(seed, -index) >> 1
