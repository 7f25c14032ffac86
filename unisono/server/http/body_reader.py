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
from unisono.server.http.body_shape import PIECE_BYTES, BodyShape
from unisono.server.http.json_body import (
    body_too_large,
    check_encoding,
    decoded,
    discard_body,
    parse_json,
)
from unisono.server.settings import Limits

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


class BodyBudget:
    """Limits the bytes of request bodies that the server holds at one time. Bytes count as they
    arrive, not as they are announced. Where there is no more room, the body that has been arriving
    for longest gives way, of the tenant that holds most: a slow client cannot keep others out.
    """

    def __init__(self, max_bytes: int) -> None:
        self.num_bytes = 0
        self._max_bytes = max_bytes
        self._open: dict[BodyAccount, None] = {}

    def account(self, tenant: str) -> BodyAccount:
        found = BodyAccount(self, tenant)
        self._open[found] = None
        return found

    def take(self, account: BodyAccount, num_bytes: int) -> bool:
        """True where there is room for so many more, if need be in place of others."""
        if account not in self._open:
            return False
        while self.num_bytes + num_bytes > self._max_bytes:
            victim = self._slowest(account)
            if victim is None:
                return False
            victim.drop()
        self.num_bytes += num_bytes
        account.num_bytes += num_bytes
        return True

    def forget(self, account: BodyAccount) -> None:
        if account in self._open:
            del self._open[account]
            self.num_bytes -= account.num_bytes

    def _slowest(self, asking: BodyAccount) -> BodyAccount | None:
        """The body to give way, unless it is the one that asks."""
        arriving = [one for one in self._open if one.drop_body is not None]
        held: dict[str, int] = {}
        for one in self._open:
            held[one.tenant] = held.get(one.tenant, 0) + one.num_bytes
        most = max((held[one.tenant] for one in arriving), default=0)
        for one in arriving:
            if held[one.tenant] == most and one.num_bytes:
                return None if one is asking else one
        return None


class BodyAccount:
    """One body: from its first byte until it is no longer needed.

    ``drop_body`` ends its arrival; ``None`` once it is complete.
    """

    def __init__(self, budget: BodyBudget, tenant: str) -> None:
        self.tenant = tenant
        self.num_bytes = 0
        self.was_dropped = False
        self.drop_body: Callable[[], object] | None = None
        self._budget = budget

    def take(self, num_bytes: int) -> bool:
        return self._budget.take(self, num_bytes)

    def drop(self) -> None:
        """It gives way to another."""
        self.was_dropped = True
        self.close()
        if self.drop_body is not None:
            self.drop_body()

    def close(self) -> None:
        """Its bytes are gone; safe to call twice."""
        self._budget.forget(self)


def _no_room() -> ApiError:
    return ApiError(
        503,
        "There is no room for this body at the moment. Try again in a few seconds.",
        code="bodies_in_flight",
        retry_after_s=_RETRY_AFTER_S,
        close=True,
    )
