"""Server-sent events.

Knows ASGI and generations; nothing of the shape of the events.
"""

from __future__ import annotations

import logging
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from unisono.server.api_error import ApiError, api_error
from unisono.server.failures import log_failure
from unisono.server.openai.generation import AnswerDelta, Generation

__all__ = ["EventStream", "Renderer"]

_DONE = b"data: [DONE]\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_log = logging.getLogger("unisono.server.stream")


class Renderer(Protocol):
    """Writes the events of one route. Everything of a step goes out in one write."""

    def opening(self) -> bytes: ...
    def events(self, deltas: list[AnswerDelta]) -> bytes: ...
    def closing(self) -> bytes: ...


class EventStream(Response):
    """A generation as events. Its first deltas have come already, so the status is known."""

    def __init__(
        self, generation: Generation, first: list[AnswerDelta], renderer: Renderer
    ) -> None:
        self.status_code = 200
        self.background = None
        self._generation = generation
        self._first = first
        self._renderer = renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await self._send_events(send)
        finally:
            self._generation.close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, send: Send) -> None:
        render = self._renderer
        try:
            await _send_part(send, render.opening() + render.events(self._first))
            async for deltas in self._generation:
                if events := render.events(deltas):
                    await _send_part(send, events)
            await _send_part(send, render.closing() + _DONE)
        except Exception as error:
            log_failure(_log, error)
            await _send_part(send, _error_event(api_error(error)) + _DONE)


async def _send_part(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _error_event(error: ApiError) -> bytes:
    return b"data: " + error.body() + b"\n\n"
