"""Starts the engine process, and starts another one whenever it dies.

Knows processes and links; nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from unisono.core import errors
from unisono.core.child import Child, status_in_words
from unisono.core.request import Request
from unisono.server.engine.adapters import ServedAdapters
from unisono.server.engine.answers import Answers
from unisono.server.engine.link import EngineLink
from unisono.server.engine.wire import EngineFacts, Start
from unisono.server.settings import KEY_VARIABLE, ServerSettings
from unisono.text.grammar.vocabulary import Vocabulary

EngineState = Literal["starting", "ready", "restarting", "stopped"]
WORKER_COMMAND = (sys.executable, "-m", "unisono.server.engine.worker")
_FIRST_BACKOFF_S = 0.5
_LAST_BACKOFF_S = 30.0
_BEAT_S = 1.0
_CATCH_UP_S = 0.1
_STOP_TIMEOUT_S = 2.0
_DEATH_TIMEOUT_S = 1.0
_log = logging.getLogger("unisono.server.engine.supervisor")


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
        self.adapters = ServedAdapters(dict(settings.adapters))
        self._settings = settings
        self._command = tuple(command)
        self._vocabulary: Vocabulary | None = None
        self._link: EngineLink | None = None
        self._facts: EngineFacts | None = None
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def facts(self) -> EngineFacts:
        """The engine's description of itself when it was ready."""
        assert self._facts is not None, "the engine has not been started"
        return self._facts

    @property
    def stats(self) -> dict[str, float]:
        """The newest counters the engine has sent."""
        return self._link.stats if self._link is not None else {}

    def num_in_flight_of(self, tenant: str) -> int:
        return self._link.num_in_flight_of(tenant) if self._link is not None else 0

    def num_tenants(self, besides: str) -> int:
        return self._link.num_tenants(besides) if self._link is not None else 1

    @property
    def process_id(self) -> int | None:
        return self._child.pid if self._child is not None else None

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

    def tell(self, vocabulary: Vocabulary) -> None:
        """The engine, and every one that replaces it, is to know the model's vocabulary."""
        self._vocabulary = vocabulary
        if self._link is not None:
            self._link.send(vocabulary)

    async def load_adapter(self, name: str, folder: Path) -> None:
        """The engine, and every one that replaces it, is to have this adapter.

        Raises:
            AdapterError: it cannot be loaded.
            InsufficientMemoryError: there is no room for it.
            EngineDeadError: there is no engine now.
        """
        await self.adapters.load(await self._living(), name, folder)

    async def remove_adapter(self, name: str) -> None:
        """Nobody is to have this adapter any more but those who have it already.

        Raises:
            EngineDeadError: there is no engine now.
        """
        await self.adapters.remove(await self._living(), name)

    async def submit(self, requests: Sequence[Request]) -> Answers:
        """Hands requests to the engine, after a bounded wait if it is being restarted.

        Raises:
            EngineRestartingError: there is still none.
        """
        return (await self._living()).submit(requests)

    async def _living(self) -> EngineLink:
        """Raises:
        EngineRestartingError: there is none after a bounded wait.
        """
        if not self._ready.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ready.wait(), self._settings.restart_wait_s)
        if self._link is None or self.state != "ready":
            raise EngineRestartingError(
                "The engine is being restarted.", hint="Send the request again in a few seconds."
            )
        return self._link

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
        environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
        self._child, ours = Child.with_socket(self._command, env=environment)
        link = EngineLink(loop)
        self._link = link
        await loop.create_unix_connection(lambda: link, sock=ours)
        beat_s = min(_BEAT_S, self._settings.watchdog_s / 4)
        link.send(Start(self._settings.model_folder, self._settings.engine, beat_s))
        if self._vocabulary is not None:
            link.send(self._vocabulary)
        try:
            self._facts = await link.ready
            await self.adapters.restore(link)
        except errors.EngineDeadError as error:
            raise await self._died_while_loading() from error
        self.state = "ready"
        self._ready.set()

    async def _died_while_loading(self) -> errors.EngineDeadError:
        status = await self._end_process(_STOP_TIMEOUT_S)
        return errors.EngineDeadError(
            f"The engine process ended with {status_in_words(status)} while it loaded the model.",
            hint="Its log says more. If memory ran out, lower --kv-memory or take a smaller model.",
        )

    async def _keep(self) -> None:
        """Waits for the engine to die and starts another, again and again."""
        while True:
            await self._until_lost()
            self.state = "restarting"
            self._ready.clear()
            status = await self._end_process(_DEATH_TIMEOUT_S)
            _log.error("The engine died with %s. Restarting it.", status_in_words(status))
            await self._relaunch()

    async def _relaunch(self) -> None:
        """At once; only after starts that fail there is a wait, which doubles."""
        wait_s = _FIRST_BACKOFF_S
        while True:
            self.num_restarts += 1
            try:
                await self._launch()
            except (errors.UnisonoError, OSError) as error:
                _log.error("The engine does not start: %s Next try in %g s.", error, wait_s)
            else:
                return
            await self._end_process(_DEATH_TIMEOUT_S)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LAST_BACKOFF_S)

    async def _until_lost(self) -> None:
        """Returns when the link is lost, or when the engine has work and shows no life."""
        link = self._link
        assert link is not None
        loop = asyncio.get_running_loop()
        limit_s = self._settings.watchdog_s
        while not link.lost.is_set():
            left_s = link.last_frame_s + limit_s - loop.time() if link.num_in_flight else limit_s
            if left_s < -_CATCH_UP_S:  # this process has had the time to read what there is
                _log.error("The engine has work and has shown no life for %g s.", limit_s)
                return
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(link.lost.wait(), max(left_s, 0) + 2 * _CATCH_UP_S)

    async def _end_process(self, timeout_s: float) -> int | None:
        """Closes the link, which asks the process to end; kills it after ``timeout_s``."""
        if self._link is not None:
            self._link.close()
        return None if self._child is None else await asyncio.to_thread(self._child.end, timeout_s)
