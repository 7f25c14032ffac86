"""A response of server-sent events. Knows ASGI; nothing of what the events say."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ["DONE", "EventStream", "event"]

DONE = b"data: [DONE]\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


def event(content: bytes) -> bytes:
    """One event with a line of data."""
    return b"data: " + content + b"\n\n"


class EventStream(Response):
    """``writes``: events, as many at once as go out in one write. Whether the client is still there
    is its :class:`Visit`'s to know."""

    def __init__(self, writes: AsyncGenerator[bytes, None]) -> None:
        self.status_code = 200
        self.background = None
        self._writes = writes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with aclosing(self._writes) as writes:
            async for body in writes:
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
