"""Time limits of a check: of its own time, not that of a busy machine.

What computes has a limit of processor time, that of its busiest thread; what neither computes nor
waits for a processor is silent, and has a limit of wall time, a longer one: a device may compute
far away. Where the system does not tell, wall time has the limit of processor time.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_SILENCE = 2.0
"""Limit of silence, in limits of processor time."""
_NS = 1e-9


@dataclass(frozen=True, slots=True)
class _Used:
    """Seconds of one thread: on a processor, and waiting for one."""

    computed: float
    waited: float

    def less(self, other: _Used) -> _Used:
        return _Used(self.computed - other.computed, self.waited - other.waited)


class Patience:
    """With process ``pid`` and what it starts, from now on; ``limit`` in seconds."""

    def __init__(self, pid: int, limit: float) -> None:
        self._pid, self.limit = pid, limit
        self._since = time.monotonic()
        self._before = _threads(pid)
        self._heard = self._since, self._before

    def heard(self) -> None:
        """A sign of life: silence begins anew."""
        self._heard = time.monotonic(), _threads(self._pid)

    def exhausted(self) -> str:
        """The limit that is passed, in words; empty where none is."""
        now_s, now = time.monotonic(), _threads(self._pid)
        if not now:
            late = now_s - self._since > self.limit + 1.0
            return f"no end after {self.limit:.0f} s" if late else ""
        computed = max(used.computed for used in _since(self._before, now))
        if computed > self.limit:
            return f"no end after {computed:.0f} s of processor time"
        heard_s, before = self._heard
        busy = max(used.computed + used.waited for used in _since(before, now))
        silent = now_s - heard_s - busy
        if silent > _SILENCE * self.limit:
            return f"no end, and no sign of life for {silent:.0f} s"
        return ""


def _since(before: dict[int, _Used], now: dict[int, _Used]) -> list[_Used]:
    """Seconds that each thread used between two readings."""
    nothing = _Used(0.0, 0.0)
    return [used.less(before.get(thread, nothing)) for thread, used in now.items()]


def _threads(pid: int) -> dict[int, _Used]:
    """Seconds used by each thread of a process and its descendants; empty without ``/proc``."""
    threads: dict[int, _Used] = {}
    processes = [pid]
    while processes:
        for task in _entries(Path(f"/proc/{processes.pop()}/task")):
            used = _used(task)
            if used is not None:
                threads[int(task.name)] = used
            processes += _children(task)
    return threads


def _entries(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)]
    except OSError:
        return []


def _used(task: Path) -> _Used | None:
    try:
        computed, waited, _ = task.joinpath("schedstat").read_text().split()
        return _Used(int(computed) * _NS, int(waited) * _NS)
    except (OSError, ValueError):
        return None


def _children(task: Path) -> list[int]:
    try:
        return [int(word) for word in task.joinpath("children").read_text().split()]
    except (OSError, ValueError):
        return []
