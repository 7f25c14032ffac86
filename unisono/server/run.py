"""A server from start to end: engine up, socket bound, requests answered, drained, gone."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, cast

import uvicorn

from unisono.core.errors import CheckpointError, ConfigError, EngineDeadError
from unisono.server.app import create_app
from unisono.server.batches.batches import lock_folder
from unisono.server.engine.supervisor import EngineSupervisor
from unisono.server.http.descriptors import connection_room
from unisono.server.http.guard import Gate
from unisono.server.http.protocol import Connections, limited_protocol
from unisono.server.responses.opening import open_store
from unisono.server.service import Service
from unisono.server.settings import ServerSettings, is_loopback
from unisono.text.grammar.vocabulary import Vocabulary
from unisono.text.tokenizer import Tokenizer

_BACKLOG = 1024
_ACCEPTED_AT_ONCE = 16
"""Few: connections over the limit need a descriptor too, until they are refused."""
_DRAIN_POLL_S = 0.05
_GRACE_S = 5
_log = logging.getLogger("unisono.server")


def serve(settings: ServerSettings) -> None:
    """Serves until SIGTERM or SIGINT, then lets running requests finish and returns. A signal that
    comes before the server is up ends the start.

    Prints one line when it is ready.

    Raises:
        ConfigError: the address cannot be bound.
        ModelError, HardwareError: the model cannot be served.
        KeyboardInterrupt: SIGINT came before the server was up.
    """
    if not (settings.api_keys or is_loopback(settings.host)):
        _log.warning("No API key: everyone who reaches %s is let in.", settings.host)
    open_store(settings).close()
    if settings.batch_dir is not None:
        os.close(lock_folder(settings.batch_dir))
    with bind(settings) as sock:
        if _run(_serve(settings, sock)) == signal.SIGINT:
            raise KeyboardInterrupt


async def _serve(settings: ServerSettings, sock: socket.socket) -> int | None:
    """Returns the signal that came before the server was up, if one did."""
    engine = EngineSupervisor(settings)
    try:
        tokenizer = await _unless_stopped(_start(settings, engine))
        if isinstance(tokenizer, int):
            return tokenizer
        server = DrainingServer(settings, engine, tokenizer)
        await server.serve(sockets=[sock])
    finally:
        await engine.stop()
    return None


async def _start(settings: ServerSettings, engine: EngineSupervisor) -> Tokenizer:
    """Loads tokenizer and engine side by side; the first that fails ends it."""
    starting = asyncio.create_task(engine.start())
    try:
        tokenizer = await asyncio.to_thread(_load_tokenizer, settings.model_folder)
        await starting
        engine.tell(await asyncio.to_thread(Vocabulary.of, tokenizer))
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    return tokenizer


def _load_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.load(folder)
    try:
        tokenizer.check_chat_template()
    except CheckpointError as error:
        _log.warning("Chat will not work, plain completions will: %s", error)
    return tokenizer


class DrainingServer(uvicorn.Server):
    """On the first signal new requests are refused and running ones may finish; then it ends."""

    def __init__(
        self, settings: ServerSettings, engine: EngineSupervisor, tokenizer: Tokenizer
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._gate = Gate()
        self._loop = asyncio.get_running_loop()
        self._drain: asyncio.Task[None] | None = None
        limits = settings.limits
        app = create_app(settings, engine, tokenizer, self._gate)
        self._service: Service = app.state.service
        connections = Connections(limits, connection_room(limits.connections))
        super().__init__(
            uvicorn.Config(
                app,
                http=limited_protocol(connections),
                backlog=_ACCEPTED_AT_ONCE,
                ws="none",
                lifespan="off",
                h11_max_incomplete_event_size=limits.header_bytes,
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        assert sockets
        if self._service.batches is not None:
            self._service.batches.runner.begin()
        sockets[0].listen(_BACKLOG)
        print(ready_line(self._settings, sockets[0].getsockname()[1]), flush=True)  # noqa: T201
        if note := self._engine.facts.note:
            print(f"note: {note}", file=sys.stderr, flush=True)  # noqa: T201

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets=sockets)
        self._service.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal handler; a second signal ends the draining."""
        if self._gate.draining:
            self._loop.call_soon_threadsafe(self._end_now)
            return
        self._gate.draining = True
        self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        if self._gate.num_inside:
            _log.warning(
                "Shutting down: running requests (%d) have %g s to finish; a second signal, or"
                " Ctrl-C again, ends them now.",
                self._gate.num_inside,
                self._settings.drain_timeout_s,
            )
        self._drain = self._loop.create_task(self._wait_and_exit())

    def _end_now(self) -> None:
        self._fail_running()
        self.should_exit = self.force_exit = True

    async def _wait_and_exit(self) -> None:
        deadline_s = self._loop.time() + self._settings.drain_timeout_s
        while self._gate.num_inside and self._loop.time() < deadline_s:
            await asyncio.sleep(_DRAIN_POLL_S)
        self._fail_running()
        self.should_exit = True

    def _fail_running(self) -> None:
        self._engine.fail_all(
            EngineDeadError(
                "The server shut down before the answer was complete.",
                hint="Send the request again, to another server or later.",
            )
        )


def ready_line(settings: ServerSettings, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"unisono serves {', '.join(settings.model_names)} on http://{host}:{port}"


def bind(settings: ServerSettings) -> socket.socket:
    """Takes the address before the model loads, but lets nobody connect yet."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without that, what is
    # written behind an answer's headers waits for the client's acknowledgement: 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"Cannot listen on {settings.host}:{settings.port} ({error.strerror}).",
            hint="Take another --host or --port; port 0 finds a free one.",
        ) from error
    return sock


async def _unless_stopped(starting: Coroutine[Any, Any, Tokenizer]) -> Tokenizer | int:
    """The tokenizer; or SIGTERM or SIGINT, where one came before the server was up."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(starting)
    signals = (signal.SIGTERM, signal.SIGINT)
    came: list[int] = []

    def stop(sig: int) -> None:
        came.append(sig)
        task.cancel()

    for sig in signals:
        loop.add_signal_handler(sig, stop, sig)
    try:
        return await task
    except asyncio.CancelledError:
        if came:
            return came[0]
        raise
    finally:
        for sig in signals:
            loop.remove_signal_handler(sig)


def _run(main: Coroutine[Any, Any, int | None]) -> int | None:
    """On uvloop where it is installed: it is faster, and not needed."""
    if sys.platform != "win32":
        try:
            uvloop = importlib.import_module("uvloop")
        except ImportError:
            pass
        else:
            return cast("int | None", uvloop.run(main))
    return asyncio.run(main)
