"""HTTP/1.1 connections with limits on what a slow or rude client can hold.

Knows uvicorn's protocol class; nothing of routes. Three limits: the time to send headers, the time
to read what was written, and the number of connections. Requests that are no HTTP get an error in
the same shape as any other.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from unisono.server.api_error import ApiError
from unisono.server.settings import Limits

__all__ = ["limited_protocol"]

_LINGER_S = 2.0


class _LimitedProtocol(H11Protocol):
    limits: Limits
    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _is_lingering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_header_timer()
        self._cancel_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await_headers()
        else:
            self._cancel_header_timer()

    def on_response_complete(self) -> None:
        """The beginning of a next request may have come with the last one."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._await_headers()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            later = self.loop.call_later
            self._write_timer = later(self.limits.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._cancel_write_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Called while h11's error is being handled; that error knows the status."""
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        body = ApiError(status, msg, code="invalid_http").body()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        events: list[Any] = [
            h11.Response(status_code=status, headers=headers, reason=b"Error"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ]
        for event in events:
            self.transport.write(cast(bytes, self.conn.send(event)))
        self._linger()

    def _linger(self) -> None:
        """Closes once the client has: a socket closed over unread bytes takes back the answer."""
        self._is_lingering = True
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)

    def _await_headers(self) -> None:
        if self._header_timer is None:
            later = self.loop.call_later
            self._header_timer = later(self.limits.header_timeout_s, self._headers_late)

    def _headers_late(self) -> None:
        self._header_timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def limited_protocol(limits: Limits) -> type[H11Protocol]:
    """A protocol class for ``uvicorn.Config(http=...)``."""
    return type("LimitedProtocol", (_LimitedProtocol,), {"limits": limits})
