"""A worker seen from the parent: a process that is asked, and else sleeps. Needs Linux's /proc."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LINES_OF_LOG = 15
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class WorkerProcess:
    """``command`` is the interpreter, a script of this folder, and its arguments.

    Raises:
        RuntimeError: the worker died; with the end of what it wrote.
    """

    def __init__(self, command: list[str | Path], log: Path, threads: int) -> None:
        self.log = log
        with log.open("w") as stream:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                cwd=FOLDER,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            )
        self._start_counting()
        self.about = self.ask("describe")
        self._start_counting()

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        began, cpu_s = time.perf_counter(), self._cpu_s()
        try:
            self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.log.stem} died at {do!r}:\n{self._last_words()}")
        self._turns_s += time.perf_counter() - began
        self._turns_cpu_s += self._cpu_s() - cpu_s
        return json.loads(line)

    def _start_counting(self) -> None:
        self._turns_s = self._turns_cpu_s = 0.0
        self._began, self._began_cpu_s = time.perf_counter(), self._cpu_s()

    def idle_share(self) -> float:
        """Processors it kept busy, since it was loaded, while it had nothing to do."""
        idle_s = time.perf_counter() - self._began - self._turns_s
        idle_cpu_s = self._cpu_s() - self._began_cpu_s - self._turns_cpu_s
        return idle_cpu_s / idle_s

    def peak_rss_bytes(self) -> int:
        """Mapped files included."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def close(self) -> None:
        """The end of its standard input ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _cpu_s(self) -> float:
        """Processor seconds of all its threads so far."""
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        except FileNotFoundError:
            return 0.0
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / TICKS_PER_S

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LINES_OF_LOG:])
