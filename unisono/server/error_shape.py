"""Errors of a route in the shape of its own API."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from unisono.server.api_error import error_response, log_failure

Route = Callable[[Request], Awaitable[Any]]
_log = logging.getLogger("unisono.server")


def answers_in(shape: Callable[[BaseException], dict[str, Any]]) -> Callable[[Route], Route]:
    """A decorator of routes: a failure is answered by the object that ``shape`` makes of it."""

    def decorate(route: Route) -> Route:
        @wraps(route)
        async def answer(request: Request) -> Any:
            try:
                return await route(request)
            except Exception as error:
                log_failure(_log, error)
                response: Response = error_response(error)
                response.body = json.dumps(shape(error)).encode()
                response.headers["content-length"] = str(len(response.body))
                return response

        return answer

    return decorate
