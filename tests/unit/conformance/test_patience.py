"""Limits of checks: computing and silence are told apart, and a busy machine takes nothing away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tests.waiting import until
from unisono.conformance.processes import patience
from unisono.conformance.processes.patience import Patience

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a thread uses")


@contextmanager
def program(code: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_end(of: Patience) -> str:
    until(of.exhausted)
    return of.exhausted()


def test_what_computes_without_end_has_processor_time() -> None:
    with program("print(flush=True)\nwhile True: pass") as process:
        assert "s of processor time" in wait_for_end(Patience(process.pid, 0.5))


def test_what_computes_in_a_process_of_its_own_counts_too() -> None:
    code = """
import os, subprocess, sys, time
loop = "import os\\nwhile os.getppid() == " + str(os.getpid()) + ": pass"
child = subprocess.Popen([sys.executable, "-c", loop])
print(flush=True)
time.sleep(100)
"""
    with program(code) as process:
        assert "s of processor time" in wait_for_end(Patience(process.pid, 0.5))


def test_what_sleeps_is_silent_until_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with program("import time\nprint(flush=True)\ntime.sleep(1000)") as process:
        each = Patience(process.pid, 10.0)
        for _ in range(2):
            now[0] += 15.0
            assert each.exhausted() == ""
            now[0] += 15.0
            assert "no sign of life for" in each.exhausted()
            each.heard()
            assert each.exhausted() == ""


def test_waiting_for_a_processor_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {1: patience._Used(0.0, 0.0)}
    monkeypatch.setattr(patience, "_threads", lambda pid: dict(used))
    now = [100.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    each = Patience(1, 10.0)
    now[0], used[1] = 400.0, patience._Used(5.0, 294.0)
    assert each.exhausted() == ""
    now[0] = 420.0
    assert each.exhausted() == "no end, and no sign of life for 21 s"
    used[1] = patience._Used(11.0, 294.0)
    assert each.exhausted() == "no end after 11 s of processor time"


def test_where_nothing_is_told_the_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_threads", lambda pid: {})
    each = Patience(1, 0.0)
    assert each.exhausted() == ""
    monkeypatch.setattr(patience.time, "monotonic", lambda: each._since + 1.5)
    assert each.exhausted() == "no end after 0 s"
