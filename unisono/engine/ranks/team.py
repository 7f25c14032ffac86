"""The other ranks of a model: their processes, seen from rank 0.

Each ends when rank 0 closes its end of their socket or dies. When one of them fails the model is
lost: rank 0 says why in an ``EngineDeadError``, and its host starts another engine.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
import weakref
from pathlib import Path

from unisono.core.child import Child, status_in_words
from unisono.core.codec import ProtocolError
from unisono.core.config import EngineConfig
from unisono.core.errors import EngineDeadError
from unisono.core.frames import Link
from unisono.engine.ranks.wire import (
    FROM_RANK,
    DropAdapter,
    Failed,
    LoadAdapter,
    Loaded,
    Ready,
    Start,
    Step,
)
from unisono.hardware.base import Hardware
from unisono.hardware.ranks.collectives import Group
from unisono.hardware.ranks.rendezvous import join_group, name_of_rank
from unisono.hardware.threads import THREADS_VARIABLE, current_threads, share_threads

_COMMAND = (sys.executable, "-m", "unisono.engine.ranks.rank")
_GRACE_S = 5.0
"""For a rank's reason to arrive after a step failed here."""
_STOP_TIMEOUT_S = 2.0
_POLL_S = 0.01


class Ranks:
    """Ranks 1 and up: ``meet`` once rank 0 has loaded its part, ``wait_until_ready``, ``send`` it
    each step; ``close``.

    Raises:
        ConfigError: there are fewer devices than ranks.
    """

    def __init__(self, folder: Path, config: EngineConfig, hardware: Hardware) -> None:
        size = config.tensor_parallel
        devices = [name_of_rank(hardware, rank, size) for rank in range(size)]
        self.size = size
        self.sharing = devices.count(devices[0])
        self._hardware = hardware
        self._dead: EngineDeadError | None = None
        self._owned = _Owned(size, hardware)
        self._end = weakref.finalize(self, self._owned.release)
        for rank in range(1, size):
            start = Start(
                folder=folder.absolute(),
                config=config,
                device=devices[rank],
                rank=rank,
                meeting_place=self._owned.meeting_place,
            )
            self._owned.spawn(start)

    @property
    def sockets(self) -> list[socket.socket]:
        """Between two steps, readable when a rank has failed."""
        return [member.sock for member in self._owned.members]

    def meet(self) -> Group:
        """Wait until every rank has loaded its part, and join them.

        Raises:
            UnisonoError: why a rank could not.
        """
        members, owned = self._owned.members, self._owned
        for member in members:
            member.expect(Loaded)
        owned.group = join_group(self._hardware, owned.meeting_place, rank=0, size=self.size)
        return owned.group

    def wait_until_ready(self) -> None:
        """After ``meet``, and what ranks say to one another then: until all have their memory.

        Raises:
            UnisonoError: why a rank could not.
        """
        for member in self._owned.members:
            member.expect(Ready)

    def send(self, step: Step | LoadAdapter | DropAdapter) -> None:
        """Raises:
        EngineDeadError: a rank has gone.
        """
        if self._dead is not None:
            raise self._dead
        for member in self._owned.members:
            member.link.send(step)
            if member.link.closed:
                raise self.failure(None)

    def check(self) -> None:
        """Between two steps.

        Raises:
            EngineDeadError: a rank has failed.
        """
        if self._dead is not None or self._first_failure(wait_s=0.0) is not None:
            raise self.failure(None)

    def failure(self, error: BaseException | None) -> EngineDeadError:
        """The reason of a failed step, given what rank 0 saw of it; ends the ranks."""
        if self._dead is None:
            reason = self._first_failure(wait_s=_GRACE_S)
            if reason is None:
                seen = "" if error is None else f": {type(error).__name__}: {error}"
                reason = f"Rank 0 failed{seen}."
            self._dead = EngineDeadError(
                f"{reason} A model in {self.size} parts needs them all.",
                hint="Load it again; a server does so by itself.",
            )
            self.close()
        return self._dead

    def _first_failure(self, *, wait_s: float) -> str | None:
        """The error of the rank that failed first: those that it left alone fail after it."""
        deadline_s = time.monotonic() + wait_s
        while True:
            failures = [member.failure() for member in self._owned.members]
            found = [failure for failure in failures if failure is not None]
            if found or time.monotonic() >= deadline_s:
                return min(found)[1] if found else None
            time.sleep(_POLL_S)

    def close(self) -> None:
        """End the ranks; also done when this object goes, and when the process ends."""
        self._end()


class _Owned:
    """Resources to give back: processes, the group, the meeting place, threads."""

    def __init__(self, size: int, hardware: Hardware) -> None:
        self.members: list[_Member] = []
        self.group: Group | None = None
        self.meeting_place = Path(tempfile.mkdtemp(prefix="unisono-ranks-"))
        self._hardware = hardware
        self._num_threads_before = current_threads()
        self._num_threads = share_threads(size)
        hardware.use_threads(self._num_threads)

    def spawn(self, start: Start) -> None:
        member = _Member(start.rank, self._num_threads)
        self.members.append(member)
        member.link.send(start)

    def release(self) -> None:
        for member in self.members:
            member.sock.close()
        for member in self.members:
            member.child.end(0.0 if self.group is None else _STOP_TIMEOUT_S)
        if self.group is not None:
            self.group.leave()
        shutil.rmtree(self.meeting_place, ignore_errors=True)
        self._hardware.use_threads(self._num_threads_before)


class _Member:
    """One rank's process, and rank 0's end of its socket."""

    def __init__(self, rank: int, num_threads: int) -> None:
        self.rank = rank
        self.child, self.sock = Child.with_socket(
            _COMMAND, env={**os.environ, THREADS_VARIABLE: str(num_threads)}
        )
        self.link = Link(self.sock, *FROM_RANK)
        self._failure: tuple[float, str] | None = None

    def expect(self, kind: type) -> None:
        """Wait for the one message that says how far the rank is.

        Raises:
            UnisonoError: it failed instead.
        """
        match self.link.receive_one():
            case message if isinstance(message, kind):
                return
            case Failed(error):
                raise error
            case None:
                raise EngineDeadError(
                    f"{self._ended()} It was loading its part of the model.",
                    hint="If memory ran out, lower --kv-memory or take a smaller model.",
                )
        raise ProtocolError(f"rank {self.rank} did not say {kind.__name__}")

    def failure(self) -> tuple[float, str] | None:
        """Time and reason of the rank's failure; None while it lives. One that is gone without a
        word was the first."""
        if self._failure is None:
            self._failure = self._look()
        return self._failure

    def _look(self) -> tuple[float, str] | None:
        try:
            messages = self.link.receive(block=False)
        except (OSError, ProtocolError):
            messages = []
        for message in messages:
            if isinstance(message, Failed):
                return message.when_s, f"Rank {self.rank} failed: {message.error.message}"
        return (0.0, self._ended()) if self.link.closed else None

    def _ended(self) -> str:
        """For people; waits a moment for the process whose socket is closed."""
        status = self.child.wait(_STOP_TIMEOUT_S)
        if status is None:
            return f"Rank {self.rank} does not answer."
        return f"Rank {self.rank} ended with {status_in_words(status)}."
