"""Processes that are started end: when asked, when killed, when their parent is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S, until
from unisono.core.child import Child, status_in_words

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
ECHO = "import os, sys; os.write(1, sys.stdin.buffer.readline())"
HANG = "import time; print('up', flush=True); time.sleep(3600)"
BROOD = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {HANG!r}]).pid, flush=True)
"""
SERVE = """
import sys, time
from unisono.core.parent import serve_parent

def serve(sock):
    sock.send(b"x")
    while sock.recv(9) == b"wait":
        time.sleep(3600)
    return 7

sys.exit(serve_parent(serve, leave_s=0.1))
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def piped(code: str) -> Child:
    return Child(python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_child_that_is_asked_to_end_has_its_time() -> None:
    child = piped(ECHO)
    assert child.is_alive
    assert child.wait(0) is None
    child.stdin.write(b"word\n")
    child.stdin.flush()
    assert child.stdout.read() == b"word\n"
    assert child.end(PATIENCE_S) == 0
    assert not child.is_alive
    assert child.end() == 0  # once more does nothing


def test_a_child_that_does_not_end_is_killed_with_its_own() -> None:
    child = piped(BROOD + HANG)
    grandchild = int(child.stdout.readline())
    assert child.stdout.readline() == b"up\n"
    assert child.end() == -signal.SIGKILL
    until(lambda: not alive(grandchild))


def test_what_a_child_leaves_behind_ends_too() -> None:
    child = piped(BROOD)
    grandchild = int(child.stdout.readline())
    assert child.end(PATIENCE_S) == 0
    until(lambda: not alive(grandchild))


def test_a_child_is_in_a_session_of_its_own() -> None:
    child = piped(HANG)
    assert os.getsid(child.pid) == child.pid
    child.kill()
    assert child.wait(PATIENCE_S) == child.status == -signal.SIGKILL
    child.end()


def test_a_fork_of_the_parent_leaves_the_child_alone() -> None:
    child = piped(HANG)
    assert child.stdout.readline() == b"up\n"
    fork = os.fork()
    if fork == 0:
        child.kill()
        os._exit(2 if child.is_alive or child.end() is not None else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    assert child.is_alive
    child.end()


def test_a_child_over_a_socket_is_deaf_to_stop_signals_and_ends_with_it() -> None:
    child, sock = Child.with_socket(python(SERVE))
    with sock:
        assert sock.recv(9) == b"x"
        os.kill(child.pid, signal.SIGINT)
        os.kill(child.pid, signal.SIGTERM)
        sock.send(b"end")
        assert child.end(PATIENCE_S) == 7


def test_a_child_that_hangs_ends_when_its_parent_hangs_up() -> None:
    child, sock = Child.with_socket(python(SERVE))
    sock.recv(9)
    sock.send(b"wait")
    sock.close()
    assert child.end(PATIENCE_S) == 1


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(OSError, match="no-such"):
        Child.with_socket(["/no-such-command"])


def test_a_status_in_words() -> None:
    assert status_in_words(3) == "status 3"
    assert status_in_words(-9) == "status -9 (killed, perhaps for memory)"
