"""Holds one limited process: starts it, asks it, ends it, and tells why it ended.

Whoever breaks a limit is told from whoever was killed or stopped from outside.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unisono.core.child import Child
from unisono.text.limited.worker import read_frame, write_frame

_END_S = 5.0
_INHERITED = ("LANG", "LC_ALL", "LC_TIME", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT")
_ONE_THREAD = {
    "TOKENIZERS_PARALLELISM": "false",
    "RAYON_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}
"""A thread for each processor would take of the memory allowed, whatever is asked."""
_BOOT = (
    "import json, runpy, sys; sys.path.extend(json.loads(sys.argv[2]));"
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)
_KILLED = frozenset(
    -getattr(signal, name)
    for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


class LimitBrokenError(Exception):
    """The program used more memory or time than it may, or broke down."""


class ProcessLostError(Exception):
    """The process was killed from outside, or did not answer without using its time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """``max_cpu_s`` counts the process's own time for one request, with ``cpu_s_per_byte`` more for
    each byte of it; ``max_wall_s`` the time a caller waits for it, and no less than five times the
    computing that is allowed. Windows limits wall time alone, macOS not the memory."""

    max_cpu_s: float = 2.0
    cpu_s_per_byte: float = 0.0
    max_wall_s: float = 10.0
    max_start_cpu_s: float = 2.0
    max_start_wall_s: float = 30.0
    max_memory_bytes: int = 512 << 20


class LimitedProcess:
    """Answers one request at a time; other callers wait. The process starts with the first of them
    and again after one that ended it, and ends with this object.

    Args:
        program: the file whose ``start`` is run (``worker``).
        hello: what ``start`` is to know, as JSON data.
        search_path: where the program finds what it imports.
        check: looks at the greeting; what it raises, whoever started the process gets.
    """

    def __init__(
        self,
        program: Path,
        hello: Mapping[str, Any],
        *,
        limits: Limits,
        search_path: Sequence[str],
        check: Callable[[bytes], None],
    ) -> None:
        self._hello = {**asdict(limits), **hello, "program": str(program)}
        self._limits = limits
        self._search_path = list(search_path)
        self._check = check
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._end: Callable[[], object] = lambda: None

    def start(self) -> None:
        """Starts the process, unless that is done.

        Raises:
            LimitBrokenError, ProcessLostError: it ended before it was ready.
        """
        with self._lock:
            self._running()

    def ask(self, request: bytes) -> bytes:
        """The reply to a request.

        Raises:
            LimitBrokenError, ProcessLostError: as they say; the next request starts another.
        """
        limits = self._limits
        max_cpu_s = limits.max_cpu_s + len(request) * limits.cpu_s_per_byte
        with self._lock:
            return self._ask(self._running(), request, max(limits.max_wall_s, 5 * max_cpu_s))

    def _running(self) -> Child:
        if self._child is None or not self._child.is_alive:
            self._stop()
            self._child = self._launch()
        return self._child

    def _launch(self) -> Child:
        worker = str(Path(__file__).with_name("worker.py"))
        child = Child(
            [sys.executable, "-I", "-S", "-c", _BOOT, worker, json.dumps(self._search_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ} | _ONE_THREAD,
        )
        self._end = weakref.finalize(self, child.end)
        limits = self._limits
        max_wall_s = max(limits.max_start_wall_s, 5 * limits.max_start_cpu_s)
        greeting = self._ask(child, json.dumps(self._hello).encode(), max_wall_s)
        try:
            self._check(greeting)
        except BaseException:
            self._stop()
            raise
        return child

    def _ask(self, child: Child, request: bytes, max_wall_s: float) -> bytes:
        """Sends one frame and waits for one; ends the process where none comes in time."""
        too_late = threading.Event()

        def give_up() -> None:
            too_late.set()
            child.kill()

        alarm = threading.Timer(max_wall_s, give_up)
        alarm.daemon = True
        alarm.start()
        try:
            write_frame(child.stdin, request)
            reply = read_frame(child.stdout)
        except (OSError, ValueError):
            reply = None
        except BaseException:
            self._stop()  # the reply that is under way must not be taken for another's
            raise
        finally:
            alarm.cancel()
        if reply is None:
            status = child.wait(_END_S)
            self._stop()
            raise (ProcessLostError if too_late.is_set() or status in _KILLED else LimitBrokenError)
        return reply

    def _stop(self) -> None:
        self._child = None
        self._end()
