"""The number of threads of the host that compute.

torch keeps one pool for the whole process; a hardware that has another of its own follows it
(``Hardware.use_threads``).
"""

from __future__ import annotations

import os

import torch

from unisono.hardware.processors import usable_cores

THREADS_VARIABLE = "OMP_NUM_THREADS"
_AT_START = torch.get_num_threads()


def choose_threads(asked: int | None = None) -> int:
    """``asked``; else what the program or ``OMP_NUM_THREADS`` has chosen; else torch's own choice,
    but no more than the process has physical cores."""
    count = current_threads()
    if asked is not None:
        return asked
    if THREADS_VARIABLE in os.environ or count != _AT_START:
        return count
    return min(count, usable_cores())


def current_threads() -> int:
    return torch.get_num_threads()


def share_threads(size: int) -> int:
    """Threads for each of ``size`` ranks, at least one."""
    return max(1, current_threads() // size)
