"""Processes of the kit end with the one that started them, however that one ends."""

from __future__ import annotations

import contextlib
import ctypes
import signal

__all__ = ["end_with_parent"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Ask Linux to kill this process when its parent is gone; elsewhere does nothing.

    A check may hang in a driver, where no thread of Python would notice.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
