"""Signs of life of an engine process while a step of its engine takes long.

Knows processor time and how long steps take; nothing of what they compute. A thread beats while the
step can be believed, and falls silent where it cannot:

- nothing computes: neither this process nor one that it started (a compiler, a rank) has used any
  processor time since the last beat. So a deadlock shows, or a device that never answers.
- the step spins: it takes longer than all the tokens of a full step would take one at a time, at
  the pace of the shortest step of late.
- the interpreter is held, or the process is stopped: the thread itself does not run.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FIRST_STEP_S = 600.0
"""For the first step, which may compile kernels and touches all memory for the first time."""
_NUM_REMEMBERED = 64
_SHORTEST_S = 0.001
_LEAST_SHARE = 0.01
"""Share of a processor below which nothing computes."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Pulse:
    """Args:
    beat: says that the engine is alive; called from a thread.
    interval_s: between two beats.
    most_tokens: of one step.
    """

    def __init__(self, beat: Callable[[], None], interval_s: float, most_tokens: int) -> None:
        self._beat = beat
        self._interval_s = interval_s
        self._most_tokens = most_tokens
        self._began_s = math.inf
        self._step_s: deque[float] = deque(maxlen=_NUM_REMEMBERED)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around one step of the engine."""
        self._began_s = time.monotonic()
        yield
        self._step_s.append(time.monotonic() - self._began_s)
        self._began_s = math.inf

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        used_s = _processor_s()
        while not self._stopped.wait(self._interval_s):
            before_s, used_s = used_s, _processor_s()
            computes = used_s - before_s > _LEAST_SHARE * self._interval_s
            if computes and self._is_believable():
                self._beat()

    def _is_believable(self) -> bool:
        took_s = time.monotonic() - self._began_s
        if not self._step_s:
            return 0 <= took_s < _FIRST_STEP_S
        pace_s = max(_SHORTEST_S, min(list(self._step_s)))
        return 0 <= took_s < pace_s * self._most_tokens


def _processor_s() -> float:
    """Processor time of this process, but for this thread, and of all that descend from it."""
    own_s = time.process_time() - time.thread_time()
    return own_s + sum(_used_s(pid) for pid in _descendants(Path("/proc/self")))


def _descendants(process: Path) -> Iterator[str]:
    for children in process.glob("task/*/children"):
        with suppress(OSError):
            for pid in children.read_text().split():
                yield pid
                yield from _descendants(Path("/proc") / pid)


def _used_s(pid: str) -> float:
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return 0.0  # it has ended meanwhile
