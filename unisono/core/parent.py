"""The process that started this one, seen from here; ``core.child`` is the same from there.

Whoever started a process decides when it ends, and it must never outlive them.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve_parent(
    serve: Callable[[socket.socket], int], *, leave_s: float, arguments: list[str] | None = None
) -> int:
    """The whole of a program ``--fd N``, where N is an inherited, connected Unix socket: runs
    ``serve`` over it and gives its exit status.

    Args:
        leave_s: for ``serve`` to return once the parent has gone; then the process is ended,
            wherever it hangs.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    options = parser.parse_args(arguments)
    _ignore_stop_signals()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with _inherited(options.fd) as sock:
        _end_with(sock, leave_s)
        return serve(sock)


def _ignore_stop_signals() -> None:
    """Ctrl-C and a service manager reach every process of a group; the parent decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def has_hung_up(sock: socket.socket, timeout_s: float | None = 0.0) -> bool:
    """True where the other side has gone; waits at most ``timeout_s``, and data do not count."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


def end_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it is gone; elsewhere does
    nothing. For what may hang in a driver, where no thread of Python would notice."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _inherited(descriptor: int) -> socket.socket:
    """Under a small number: a server with many connections hands over one that ``select`` cannot
    take."""
    small = os.dup(descriptor)
    os.close(descriptor)
    return socket.socket(fileno=small)


def _end_with(sock: socket.socket, leave_s: float) -> None:
    def watch() -> None:
        has_hung_up(sock, None)
        time.sleep(leave_s)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
