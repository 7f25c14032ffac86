"""A request of the server to itself: answered by the same route as a client's, without a socket.

Knows ASGI requests; nothing of batches.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, NoReturn

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import Message

from unisono.server.api_error import api_error, log_failure
from unisono.server.http.visit import Visit

Route = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger("unisono.server")


class InnerAnswer(NamedTuple):
    status: int
    request_id: str
    body: Any
    retry_after_s: int | None = None
    code: str | None = None
    """Code of the error, if it is one."""


async def ask(app: FastAPI, route: Route, path: str, body: bytes, tenant: str) -> InnerAnswer:
    """The answer of ``route`` to a body, in the name of a tenant; an error is one, too."""
    given = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(given, None) or await _never()

    visit = Visit(receive, _nowhere)
    state = {"visit": visit, "tenant": tenant}
    scope = {"type": "http", "app": app, "method": "POST", "path": path, "state": state}
    request = Request({**scope, "headers": [], "query_string": b""}, visit.receive)
    name = secrets.token_hex(16)
    try:
        response = await route(request)
        return InnerAnswer(response.status_code, name, json.loads(bytes(response.body)))
    except Exception as error:
        log_failure(_log, error)
        found = api_error(error)
        said = json.loads(found.body())
        return InnerAnswer(found.status, name, said, found.retry_after_s, found.code)
    finally:
        visit.close()


async def _never() -> NoReturn:
    await asyncio.Future()
    raise AssertionError


async def _nowhere(message: Message) -> None:
    raise AssertionError("a route sends nothing itself")
