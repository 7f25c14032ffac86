"""The engine process: one engine, one socket, one loop.

Knows the engine and the wire; nothing of HTTP or text. It ends when the other side of the socket
goes away, and only then: signals that stop the server are the API process's to answer.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unisono.core import errors
from unisono.core.clock import MonotonicClock
from unisono.core.codec import ProtocolError
from unisono.core.config import EngineConfig
from unisono.core.frames import Link
from unisono.core.parent import serve_parent
from unisono.core.request import Request, RequestOutput
from unisono.server.engine import wire
from unisono.server.engine.outbox import Outbox
from unisono.server.engine.pulse import Pulse
from unisono.text.grammar.vocabulary import Vocabulary

if TYPE_CHECKING:
    from unisono.engine.engine import Engine

Build = Callable[[Path, EngineConfig, Callable[[], Vocabulary]], "Engine[Any]"]
"""The last argument gives the model's vocabulary, once it has come."""
_VOCABULARY_S = 60.0
"""For the vocabulary to come, which the API process sends when it has loaded it."""
_STATS_INTERVAL_S = 0.2
_LEAVE_S = 5.0
"""For the loop to end by itself once the API process has gone, before the process is ended."""
_log = logging.getLogger("unisono.server.engine.worker")


class Worker:
    """Reads messages, steps the engine, sends what steps bring."""

    def __init__(
        self, engine: Engine[Any], link: Link, pulse: Pulse, vocabulary: Future[Vocabulary]
    ) -> None:
        self._engine = engine
        self._vocabulary = vocabulary
        self._link = link
        self._pulse = pulse
        self._outbox = Outbox(MonotonicClock())
        self._rejected: list[tuple[str, errors.UnisonoError]] = []
        self._stats_due_s = 0.0

    def run(self) -> None:
        while not self._link.closed:
            for message in self._receive():
                self._handle(message)
            if self._engine.has_work:
                self._step()
            self._report()

    def _step(self) -> None:
        with self._pulse.step():
            outputs = self._engine.step()
        for output in outputs:
            self._outbox.add(output)

    def _receive(self) -> list[Any]:
        """Waits for messages where there is nothing else to do."""
        if self._engine.has_work:
            return self._link.receive(block=False)
        messages = self._link.receive(block=True, alarms=self._engine.alarms)
        if not messages:
            self._engine.check()
        return messages

    def _handle(self, message: Any) -> None:
        match message:
            case wire.Add():
                for request in message.whole_requests():
                    self._add(request)
            case wire.Abort(names):
                for name in names:
                    self._engine.abort(name)
                    self._outbox.forget(name)
            case wire.LoadAdapter(number, name, folder):
                self._do(number, partial(self._engine.load_adapter, name, folder))
            case wire.RemoveAdapter(number, name):
                self._do(number, partial(self._engine.remove_adapter, name))
            case Vocabulary() if not self._vocabulary.done():
                self._vocabulary.set_result(message)
            case _:
                raise ProtocolError("the engine has been started already")

    def _add(self, request: Request) -> None:
        try:
            self._engine.add(request)
        except errors.RequestError as error:
            self._rejected.append((request.id, error))

    def _do(self, number: int, action: Callable[[], Any]) -> None:
        failure: errors.UnisonoError | None = None
        try:
            action()
        except errors.UnisonoError as error:
            failure = error
        except Exception as error:
            _log.exception("An adapter could not be changed.")
            failure = errors.AdapterError(f"It failed with {type(error).__name__}.")
        self._link.send(wire.Done(number, failure))

    def _report(self) -> None:
        rejected, self._rejected = self._rejected, []
        outputs, stats = self._outbox.take(), self._stats()
        if not outputs and not rejected and stats is None:
            return
        try:
            self._link.send(wire.Step(outputs, rejected, stats))
        except ProtocolError:
            self._report_too_large(outputs, rejected)

    def _report_too_large(
        self, outputs: list[RequestOutput], rejected: list[tuple[str, errors.UnisonoError]]
    ) -> None:
        failure = errors.RequestFailedError(
            "The answer is too large to be handed over.", hint="Ask for fewer log-probabilities."
        )
        for output in outputs:
            try:
                self._link.send(wire.Step([output], [], None))
            except ProtocolError:
                self._engine.abort(output.request_id)
                self._outbox.forget(output.request_id)
                rejected.append((output.request_id, failure))
        self._link.send(wire.Step([], rejected, None))

    def _stats(self) -> dict[str, float] | None:
        now_s = time.monotonic()
        if now_s < self._stats_due_s and self._engine.has_work:
            return None
        self._stats_due_s = now_s + _STATS_INTERVAL_S
        return dataclasses.asdict(self._engine.stats())


def run(sock: socket.socket, build: Build) -> int:
    """Serves one connection until it closes; returns the exit status of the process."""
    link = Link(sock, *wire.TO_ENGINE)
    start = link.receive_one()
    if start is None:
        return 0
    if not isinstance(start, wire.Start):
        raise ProtocolError("the first message is not a start message")
    vocabulary: Future[Vocabulary] = Future()
    try:
        engine = build(start.folder, start.config, partial(vocabulary.result, _VOCABULARY_S))
    except errors.UnisonoError as error:
        link.send(wire.Failed(error))
        return 1
    except Exception as error:
        _log.exception("The engine could not be built.")
        reason = f"The engine could not start ({type(error).__name__})."
        link.send(wire.Failed(errors.UnisonoError(reason)))
        return 1
    link.send(wire.Ready(_facts(engine.info)))
    pulse = Pulse(lambda: link.send(wire.Beat()), start.beat_s, start.config.max_num_batched_tokens)
    try:
        Worker(engine, link, pulse, vocabulary).run()
    except errors.EngineDeadError as error:
        _log.error("The engine is lost: %s", error)
        return 1
    finally:
        pulse.close()
    return 0


def _facts(info: Any) -> wire.EngineFacts:
    names = [field.name for field in dataclasses.fields(wire.EngineFacts)]
    return wire.EngineFacts(**{name: getattr(info, name) for name in names})


def main(arguments: list[str] | None = None) -> int:
    """``python -m unisono.server.engine.worker --fd N``: an inherited, connected Unix socket."""

    def serve(sock: socket.socket) -> int:
        from unisono.engine.building import build_engine
        from unisono.text.grammar.compiler import GrammarCompiler

        def build(
            folder: Path, config: EngineConfig, vocabulary: Callable[[], Vocabulary]
        ) -> Engine[Any]:
            return build_engine(folder, config, None, partial(GrammarCompiler, vocabulary))

        return run(sock, build)

    return serve_parent(serve, leave_s=_LEAVE_S, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
