"""From a request to its checked body, within bounds of bytes, time and work.

Knows the order of these steps; how each is done is elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request

from unisono.server.api_error import ApiError, bad_request
from unisono.server.http.body_budget import BodyAccount, BodyBudget
from unisono.server.http.body_shape import PIECE_BYTES, BodyShape
from unisono.server.http.json_body import (
    body_too_large,
    check_encoding,
    decoded,
    discard_body,
    parse_json,
)
from unisono.server.settings import Limits

__all__ = ["BodyReader"]

_INLINE_BYTES = 16 * 2**10
"""A larger body is parsed away from the event loop."""
_RETRY_AFTER_S = 2
T = TypeVar("T")


class BodyReader:
    """Args:
    context: tells how many tokens a prompt may have.
    """

    def __init__(self, limits: Limits, context: Callable[[], int]) -> None:
        self._limits = limits
        self._context = context
        self._budget = BodyBudget(limits.bodies_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="json")

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def read(self, request: Request, check: Callable[[dict[str, Any]], T]) -> T:
        """Reads the body and hands it to ``check``. ``request.state.body`` holds its share of
        bytes in flight until it is closed, at the latest with the visit.

        Raises:
            ApiError: it is too large, too slow, too much work, not JSON, or does not fit; or there
                is no room for it now.
        """
        request.state.body = account = self._budget.account(request.state.tenant)
        request.state.visit.hold(account)
        encoding = check_encoding(request.headers.get("content-encoding"))
        shape = BodyShape(self._limits.json_depth, self._context())
        body = await self._receive(request, account, None if encoding else shape)
        if encoding is not None:
            num_sent = len(body)
            body = await asyncio.to_thread(self._decoded, body, encoding, shape)
            if len(body) > num_sent and not account.take(len(body) - num_sent):
                raise _no_room()
        if len(body) <= _INLINE_BYTES and not shape.is_refused:
            return self._parsed(body, shape, check)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._parsed, body, shape, check)

    async def _receive(
        self, request: Request, account: BodyAccount, shape: BodyShape | None
    ) -> bytearray:
        arrival = asyncio.create_task(self._collect(request, account, shape))
        account.drop_body = arrival.cancel
        try:
            await asyncio.wait({arrival}, timeout=self._limits.body_timeout_s)
            if account.was_dropped:
                raise _no_room()
            if not arrival.done():
                message = f"The body did not arrive within {self._limits.body_timeout_s:g} seconds."
                raise ApiError(408, message, code="request_timeout", close=True)
            return arrival.result()
        finally:
            account.drop_body = None
            arrival.cancel()

    async def _collect(
        self, request: Request, account: BodyAccount, shape: BodyShape | None
    ) -> bytearray:
        """The bytes of the body; none of one that ``shape`` refuses."""
        body = bytearray()
        num_bytes = 0
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > self._limits.body_bytes:
                await discard_body(request.state.visit)
                raise body_too_large(self._limits)
            if not account.take(len(chunk)):
                await discard_body(request.state.visit)
                raise _no_room()
            body += chunk
            if shape is not None:
                for start in range(0, len(chunk), PIECE_BYTES):
                    shape.feed(chunk[start : start + PIECE_BYTES])
                    await asyncio.sleep(0)
                if shape.is_refused:
                    body.clear()
        return body

    def _decoded(self, body: bytearray, encoding: str, shape: BodyShape) -> bytearray:
        found = decoded(body, encoding, self._limits)
        shape.feed_all(found)
        return found

    def _parsed(self, body: bytearray, shape: BodyShape, check: Callable[[dict[str, Any]], T]) -> T:
        shape.check()
        value = parse_json(body)
        if not isinstance(value, dict):
            raise bad_request("The body must be a JSON object.")
        return check(value)


def _no_room() -> ApiError:
    return ApiError(
        503,
        "There is no room for this body at the moment. Try again in a few seconds.",
        code="bodies_in_flight",
        retry_after_s=_RETRY_AFTER_S,
        close=True,
    )
