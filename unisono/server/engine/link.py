"""The API process's end of the socket to one engine process.

Knows frames and which request waits for which output; nothing of processes, restarts or HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from unisono.core import errors
from unisono.core.codec import ProtocolError
from unisono.core.frames import FrameBuffer, encode_frame
from unisono.core.request import Request
from unisono.server.engine import wire
from unisono.server.engine.answers import Answers

_log = logging.getLogger("unisono.server.engine")


class EngineLink(asyncio.Protocol):
    """Carries many requests over one connection.

    ``ready`` resolves when the engine has loaded, or raises why it has not; ``lost`` is set when
    the connection is gone for good.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready: asyncio.Future[wire.EngineFacts] = loop.create_future()
        self.lost = asyncio.Event()
        self.stats: dict[str, float] = {}
        self.last_frame_s = loop.time()
        self._loop = loop
        self._buffer = FrameBuffer(*wire.FROM_ENGINE)
        self._routes: dict[str, tuple[Answers, str]] = {}
        self._num_of: Counter[str] = Counter()
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._num_asked = 0
        self._transport: asyncio.Transport | None = None

    @property
    def num_in_flight(self) -> int:
        """Engine requests that have not finished."""
        return len(self._routes)

    def num_in_flight_of(self, tenant: str) -> int:
        return self._num_of[tenant]

    def num_tenants(self, besides: str) -> int:
        """Tenants that have requests in flight, ``besides`` among them in any case."""
        return len(self._num_of.keys() | {besides})

    def send(self, message: Any) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_frame(message))

    def submit(self, requests: Sequence[Request]) -> Answers:
        """Hands the requests over; their outputs come through the answer.

        Raises:
            EngineDeadError: the connection is gone already.
        """
        if self.lost.is_set():
            raise engine_died()
        answers = Answers([request.id for request in requests], self._release)
        self.send(wire.Add.of(requests))
        if not self._routes:
            self.last_frame_s = self._loop.time()
        for request in requests:
            self._routes[request.id] = (answers, request.tenant)
            self._num_of[request.tenant] += 1
        return answers

    def next_number(self) -> int:
        """A number for what is to be asked."""
        self._num_asked += 1
        return self._num_asked

    async def ask(self, message: Any) -> None:
        """Sends a message with a ``number``; returns when the engine has done it.

        Raises:
            UnisonoError: why it has not.
            EngineDeadError: the connection is gone.
        """
        if self.lost.is_set():
            raise engine_died()
        done = self._asked[message.number] = self._loop.create_future()
        self.send(message)
        try:
            await done
        finally:
            self._asked.pop(message.number, None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def fail_all(self, error: errors.UnisonoError) -> None:
        """Ends every request in flight."""
        for answers in dict.fromkeys([answers for answers, _ in self._routes.values()]):
            answers.fail(error)
        self._routes.clear()
        self._num_of.clear()

    def _forget(self, name: str) -> Answers | None:
        """Whoever waits for this request does so no longer."""
        answers, tenant = self._routes.pop(name, (None, ""))
        if answers is not None:
            self._num_of[tenant] -= 1
            if not self._num_of[tenant]:
                del self._num_of[tenant]
        return answers

    def _release(self, names: list[str]) -> None:
        known = [name for name in names if self._forget(name)]
        if known:
            self.send(wire.Abort(known))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.last_frame_s = self._loop.time()
        try:
            for message in self._buffer.feed(data):
                self._handle(message)
        except ProtocolError as error:
            _log.error("The engine process is not understood: %s. Leaving it.", error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        if not self.ready.done():
            self.ready.set_exception(engine_died())
            self.ready.exception()  # marks it as seen: the launch may have been given up
        for done in self._asked.values():
            if not done.done():
                done.set_exception(engine_died())
        self.fail_all(engine_died())

    def _handle(self, message: Any) -> None:
        match message:
            case wire.Step():
                self._handle_step(message)
            case wire.Beat():
                pass  # that it came is what it says
            case wire.Ready(facts) if not self.ready.done():
                self.ready.set_result(facts)
            case wire.Failed(error) if not self.ready.done():
                self.ready.set_exception(error)
            case wire.Done(number, error):
                self._handle_done(number, error)
            case _:
                raise ProtocolError("the engine is ready already")

    def _handle_done(self, number: int, error: errors.UnisonoError | None) -> None:
        done = self._asked.get(number)
        if done is None or done.done():
            return  # nobody waits for it any more
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def _handle_step(self, step: wire.Step) -> None:
        if step.stats is not None:
            self.stats = step.stats
        for output in step.outputs:
            answers, _ = self._routes.get(output.request_id, (None, ""))
            if answers is None:
                continue  # aborted while the step ran
            if output.finish_reason is not None:
                self._forget(output.request_id)
            answers.push(output)
        for name, error in step.rejected:
            if answers := self._forget(name):
                answers.fail(error)


def engine_died() -> errors.EngineDeadError:
    return errors.EngineDeadError(
        "The engine process ended while it worked on this request.",
        hint="It is being restarted: send the request again in a few seconds.",
    )
