"""HTTP/1.1 connections, each with a deadline in whatever state it is.

Knows uvicorn's protocol class; nothing of routes. ``Connections`` looks at every connection again
and again, so no way through the protocol can leave one without an end. Requests that are no HTTP
get an error in the same shape as any other.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from unisono.server.api_error import ApiError, error_response
from unisono.server.http.front import request_id
from unisono.server.settings import Limits

State = Literal["headers", "idle", "body", "answer", "unread body", "closing"]
_LINGER_S = 2.0
_UNREAD_S = 5.0
"""For a body that nobody reads, because its answer is complete already."""
_GRACE_S = 2.0
"""For a route to refuse a slow body itself, in words, before its connection is cut."""
_MIN_READ_BYTES = 64 * 2**10
"""A client reads at least so much in each ``write_timeout_s``, or everything."""
_LOOK_S = 0.5
_MAX_REFUSALS = 16
_SAYS = {
    431: "The request line and headers are too large.",
    501: "This Transfer-Encoding is not read here: send chunked, or a Content-Length.",
}


class Connections:
    """All connections of one server.

    Args:
        limits: how long a client may take for what.
        room: most connections. One more takes the place of the one that has been without a request
            for longest; where all have one, it is told so and closed.
    """

    def __init__(self, limits: Limits, room: int) -> None:
        self._room = room
        self._write_timeout_s = limits.write_timeout_s
        self._limits_s: dict[State, float] = {
            "headers": limits.header_timeout_s,
            "body": limits.body_timeout_s + _GRACE_S,
            "unread body": _UNREAD_S,
            "closing": limits.write_timeout_s,
        }
        self._look_s = min(_LOOK_S, *(limit_s / 4 for limit_s in self._limits_s.values()))
        self._open: dict[_LimitedProtocol, None] = {}
        self._waiting: dict[_LimitedProtocol, None] = {}
        """Connections without a request, the longest waiting first."""
        self._num_refusals = 0
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, connection: _LimitedProtocol) -> None:
        """Lets a new connection in, if need be in another's place, or refuses it."""
        if len(self._open) >= self._room and self._waiting:
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            oldest.transport.abort()
        if len(self._open) >= self._room:
            self._refuse(connection)
            return
        self._open[connection] = self._waiting[connection] = None
        if self._timer is None:
            self._timer = connection.loop.call_later(self._look_s, self._look, connection.loop)

    def leave(self, connection: _LimitedProtocol) -> None:
        self._open.pop(connection, None)
        self._waiting.pop(connection, None)

    def begins_request(self, connection: _LimitedProtocol) -> None:
        self._waiting.pop(connection, None)

    def ends_request(self, connection: _LimitedProtocol) -> None:
        if connection in self._open:
            self._waiting[connection] = None

    def _refuse(self, connection: _LimitedProtocol) -> None:
        """A few are told why; a flood is not worth the descriptors that this takes."""
        if self._num_refusals >= _MAX_REFUSALS:
            connection.transport.abort()
            return
        self._num_refusals += 1
        connection.loop.call_later(_LINGER_S, self._forget_refusal, connection)
        connection.refuse(_too_many_connections())

    def _forget_refusal(self, connection: _LimitedProtocol) -> None:
        self._num_refusals -= 1
        connection.transport.abort()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for connection in list(self._open):
            connection.check(now_s, self._limits_s, self._write_timeout_s)
        self._timer = loop.call_later(self._look_s, self._look, loop) if self._open else None


def _too_many_connections() -> ApiError:
    message = "All connections of this server are in use. Try again in a few seconds."
    return ApiError(503, message, code="too_many_connections", retry_after_s=5)


class _LimitedProtocol(H11Protocol):
    everyone: Connections
    _is_lingering = False
    _unread: tuple[int, float] | None = None
    """Bytes that a client slow to read has not taken, and since when; None where there are none."""
    _since: tuple[State, object] = ("headers", None)
    _since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since_s = self.loop.time()
        self.everyone.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.everyone.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._is_lingering:
            super().data_received(data)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:
            self.everyone.begins_request(self)

    def on_response_complete(self) -> None:
        self.everyone.ends_request(self)
        super().on_response_complete()

    @property
    def state(self) -> State:
        """The part of an exchange that the connection waits for; ``answer`` is ours."""
        if self._is_lingering or self.transport.is_closing():
            return "closing"
        if self.conn.their_state is h11.IDLE:
            is_new = self.cycle is None or bool(self.conn.trailing_data[0])
            return "headers" if is_new else "idle"
        is_answered = self.cycle is not None and self.cycle.response_complete
        if self.conn.their_state is h11.SEND_BODY:
            return "unread body" if is_answered else "body"
        return "closing" if is_answered else "answer"

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = (self.transport.get_write_buffer_size(), self.loop.time())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread, self._since_s = None, self.loop.time()

    def check(self, now_s: float, limits_s: dict[State, float], write_timeout_s: float) -> None:
        """Ends the connection if it has been in its state for longer than that may last."""
        state = self.state
        if (state, self.cycle) != self._since:
            self._since, self._since_s = (state, self.cycle), now_s
        limit_s = self.timeout_keep_alive if state == "idle" else limits_s.get(state, math.inf)
        if self._unread is not None:
            self._check_reading(*self._unread, now_s, write_timeout_s)
        elif now_s - self._since_s > limit_s:
            self._end(state)

    def _end(self, state: State) -> None:
        if state in ("body", "closing"):
            self.transport.abort()
        else:
            self.transport.close()

    def _check_reading(
        self, num_bytes: int, since_s: float, now_s: float, timeout_s: float
    ) -> None:
        """Cuts off a client that does not read what was written to it."""
        left = self.transport.get_write_buffer_size()
        if num_bytes - left >= _MIN_READ_BYTES:
            self._unread = (left, now_s)
        elif now_s - since_s > timeout_s:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Called while h11's error is being handled; that error knows the status."""
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the body broke off: its route has nobody to answer
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            says = _SAYS.get(status, "The request is not valid HTTP/1.1.")
            self.refuse(ApiError(status, says, code="invalid_http"))
        else:
            self.transport.close()

    def refuse(self, error: ApiError) -> None:
        """Sends the error, and nothing after it."""
        for event in _events(error):
            self.transport.write(cast(bytes, self.conn.send(event)))
        self._linger()

    def _linger(self) -> None:
        """Closes once the client has: a socket closed over unread bytes takes back the answer."""
        self._is_lingering = True
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)


def _events(error: ApiError) -> Sequence[Any]:
    response = error_response(error)
    response.headers["connection"] = "close"
    response.headers["x-request-id"] = request_id({}).decode()
    reason = HTTPStatus(error.status).phrase
    return (
        h11.Response(status_code=error.status, headers=response.raw_headers, reason=reason),
        h11.Data(data=bytes(response.body)),
        h11.EndOfMessage(),
    )


def limited_protocol(connections: Connections) -> type[H11Protocol]:
    """A protocol class for ``uvicorn.Config(http=...)``."""
    return type("LimitedProtocol", (_LimitedProtocol,), {"everyone": connections})
