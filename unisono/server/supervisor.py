"""Starts the engine process, and starts another one whenever it dies.

Knows processes and links; nothing of HTTP. The process inherits one end of a socket pair, so there
is no address that anyone else could connect to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

from unisono.core import Request, errors
from unisono.server.answers import Answers
from unisono.server.engine_link import EngineLink
from unisono.server.outputs import EngineFacts
from unisono.server.settings import KEY_VARIABLE, ServerSettings
from unisono.server.wire import encode_start

__all__ = ["EngineRestartingError", "EngineState", "EngineSupervisor"]

EngineState = Literal["starting", "ready", "restarting", "stopped"]
WORKER_COMMAND = (sys.executable, "-m", "unisono.server.worker")
_FIRST_BACKOFF_S = 0.5
_LAST_BACKOFF_S = 30.0
_STABLE_S = 60.0
_STOP_TIMEOUT_S = 2.0
_DEATH_TIMEOUT_S = 1.0
_log = logging.getLogger("unisono.server.supervisor")


class EngineRestartingError(errors.EngineDeadError):
    """There is no engine at the moment."""

    code = "engine_restarting"


class EngineSupervisor:
    """One engine process at a time; requests go to the one that is alive.

    Args:
        settings: folder, engine configuration and how long to wait for what.
        command: what to run; ``--fd N`` is added to it.
    """

    def __init__(self, settings: ServerSettings, command: Sequence[str] = WORKER_COMMAND) -> None:
        self.state: EngineState = "starting"
        self.num_restarts = 0
        self._settings = settings
        self._command = tuple(command)
        self._link: EngineLink | None = None
        self._facts: EngineFacts | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def facts(self) -> EngineFacts:
        """What the engine said of itself when it was ready."""
        assert self._facts is not None, "the engine has not been started"
        return self._facts

    @property
    def stats(self) -> dict[str, float]:
        """The newest counters the engine has sent."""
        return self._link.stats if self._link is not None else {}

    @property
    def num_in_flight(self) -> int:
        return self._link.num_in_flight if self._link is not None else 0

    @property
    def process_id(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Returns when the engine is ready.

        Raises:
            ModelError, HardwareError, ConfigError: what kept the engine from loading.
            EngineDeadError: the process ended without a word.
        """
        try:
            await self._launch()
        except BaseException:
            await self.stop()
            raise
        self._keeper = asyncio.create_task(self._keep())

    async def submit(self, requests: Sequence[Request]) -> Answers:
        """Hands requests to the engine, after a bounded wait if it is being restarted.

        Raises:
            EngineRestartingError: there is still none.
        """
        if not self._ready.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ready.wait(), self._settings.restart_wait_s)
        if self._link is None or self.state != "ready":
            raise EngineRestartingError(
                "The engine is being restarted.", hint="Send the request again in a few seconds."
            )
        return self._link.submit(requests)

    def fail_all(self, error: errors.UnisonoError) -> None:
        """Ends every request in flight with ``error``."""
        if self._link is not None:
            self._link.fail_all(error)

    async def stop(self) -> None:
        """Ends the engine process; nothing is started after it."""
        grace_s = _STOP_TIMEOUT_S if self.state == "ready" else 0.0
        self.state = "stopped"
        self._ready.clear()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        await self._end_process(grace_s)

    async def _launch(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = _spawn(self._command, theirs)
        link = EngineLink(loop)
        self._link = link
        await loop.create_unix_connection(lambda: link, sock=ours)
        link.send(encode_start(self._settings.model_folder, self._settings.engine))
        try:
            self._facts = await link.ready
        except errors.EngineDeadError as error:
            raise await self._died_while_loading() from error
        self.state = "ready"
        self._ready.set()

    async def _died_while_loading(self) -> errors.EngineDeadError:
        status = await self._end_process(_STOP_TIMEOUT_S)
        killed = "; it was killed, perhaps for memory" if status == -9 else ""
        return errors.EngineDeadError(
            f"The engine process ended while it loaded the model (status {status}{killed}).",
            hint="Its log says more. If memory ran out, lower --kv-memory or take a smaller model.",
        )

    async def _keep(self) -> None:
        """Waits for the engine to die and starts another, again and again."""
        loop = asyncio.get_running_loop()
        num_failures = 0
        while True:
            started_s = loop.time()
            await self._until_lost()
            if loop.time() - started_s > _STABLE_S:
                num_failures = 0
            self.state = "restarting"
            self._ready.clear()
            self.num_restarts += 1
            status = await self._end_process(_DEATH_TIMEOUT_S)
            _log.error("The engine process died (status %s). Restarting it.", status)
            await asyncio.sleep(_backoff_s(num_failures))
            num_failures += 1
            try:
                await self._launch()
            except (errors.UnisonoError, OSError) as error:
                _log.error("The engine does not start: %s", error)

    async def _until_lost(self) -> None:
        """Returns when the link is lost, or when the engine has work and shows no life."""
        link = self._link
        assert link is not None
        loop = asyncio.get_running_loop()
        limit_s = self._settings.watchdog_s
        while not link.lost.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(link.lost.wait(), max(limit_s / 4, 0.05))
            if link.num_in_flight and loop.time() - link.last_frame_s > limit_s:
                _log.error("The engine has shown no life for %.0f s.", limit_s)
                return

    async def _end_process(self, timeout_s: float) -> int | None:
        """Closes the link, which asks the process to end; kills it after ``timeout_s``."""
        if self._link is not None:
            self._link.close()
        process = self._process
        if process is None:
            return None
        try:
            await asyncio.to_thread(process.wait, timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        return process.returncode


def _backoff_s(num_failures: int) -> float:
    """The first restart is at once; after that the wait doubles."""
    if num_failures == 0:
        return 0.0
    return min(_FIRST_BACKOFF_S * 2 ** (num_failures - 1), _LAST_BACKOFF_S)


def _spawn(command: Sequence[str], sock: socket.socket) -> subprocess.Popen[bytes]:
    """Starts the process with ``sock`` inherited, without keys, deaf to the terminal's Ctrl-C."""
    environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
    return subprocess.Popen(
        [*command, "--fd", str(sock.fileno())],
        pass_fds=[sock.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=2,
        env=environment,
        start_new_session=True,
    )
