"""A process, seen from the one that started it; ``core.parent`` is the same from the other side.

Knows how processes start and end; nothing of what they do.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO


class Child:
    """Starts ``command`` in a session of its own, deaf to the terminal's Ctrl-C. In a fork of this
    process the child is not alive, and not touched.

    Args:
        env: all its environment variables; ``None`` is those of this process.
        pass_fds: file descriptors that it inherits beside its standard streams.
        stdin, stdout, stderr: as of ``subprocess.Popen``; without them it reads nothing and writes
            to the standard error of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes] = 2,
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        self._owner_pid = os.getpid()
        self._process = subprocess.Popen(
            command,
            env=env,
            pass_fds=pass_fds,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self._ended = False

    @classmethod
    def with_socket(
        cls, command: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> tuple[Child, socket.socket]:
        """Starts ``command`` with ``--fd N``, one end of a socket pair, and gives the other end:
        there is no address that anyone else could connect to."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            fd = theirs.fileno()
            try:
                return cls([*command, "--fd", str(fd)], env=env, pass_fds=[fd]), ours
            except BaseException:
                ours.close()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        """Standard stream of a child that was started with a pipe there."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """Standard stream of a child that was started with a pipe there."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def status(self) -> int | None:
        """Exit status, or minus the signal that ended it; ``None`` while nobody saw it end."""
        return self._process.returncode

    @property
    def is_alive(self) -> bool:
        return self._is_ours and self._process.poll() is None

    @property
    def _is_ours(self) -> bool:
        return os.getpid() == self._owner_pid

    def wait(self, timeout_s: float) -> int | None:
        """Its status, once it has ended; ``None`` where it goes on."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.status

    def kill(self) -> None:
        """Kills it and all that it started, but for sessions of their own; does not wait."""
        if self._is_ours and not self._ended:
            with suppress(ProcessLookupError, PermissionError):
                if os.name == "posix":
                    os.killpg(self.pid, signal.SIGKILL)
                else:
                    self._process.kill()

    def end(self, grace_s: float = 0.0) -> int | None:
        """Waits ``grace_s`` for a child that has been asked to end, kills what is left, and closes
        its pipes; gives its status."""
        if not self._is_ours:
            return None
        if not self._ended:
            self.wait(grace_s)
            self.kill()
            self._ended = True
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        return self._process.wait()


def status_in_words(status: int | None) -> str:
    """``status -9 (killed, perhaps for memory)``."""
    killed = status is not None and os.name == "posix" and status == -signal.SIGKILL
    return f"status {status}{' (killed, perhaps for memory)' if killed else ''}"
