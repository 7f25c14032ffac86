"""The number of connections that this process may hold open.

Knows the limit on file descriptors; nothing of HTTP. What a connection does not get stays free for
the rest of the server: pipes to other processes, files, an engine that is started again.
"""

from __future__ import annotations

import contextlib
import os
import resource

_RESERVE = 128
"""Descriptors that are left for all but connections, a burst of new ones included."""
_FEW = 16
_DESCRIPTORS = "/proc/self/fd"


def connection_room(wanted: int) -> int:
    """``wanted`` connections, or as many as the process may have.

    Raises the soft limit on descriptors for them, as far as the hard one allows.
    """
    needed = wanted + _num_open() + _RESERVE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        goal = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(_FEW, soft - _num_open() - _RESERVE))


def _num_open() -> int:
    try:
        return len(os.listdir(_DESCRIPTORS))
    except OSError:  # a system without /proc
        return 64
