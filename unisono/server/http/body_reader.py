"""From a request to its checked body, within bounds of bytes, time and work.

Knows the order of these steps; how each is done is elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import Counter
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
    """Reads bodies, all within one budget of bytes.

    Args:
        max_model_len: tells how many tokens a prompt may have.
    """

    def __init__(self, limits: Limits, max_model_len: Callable[[], int]) -> None:
        self._limits = limits
        self._max_model_len = max_model_len
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
        request.state.body = account = self._budget.open_account(request.state.tenant)
        request.state.visit.hold(account)
        encoding = check_encoding(request.headers.get("content-encoding"))
        shape = BodyShape(self._limits.json_depth, self._max_model_len())
        body = await self._receive(request, account, None if encoding else shape)
        if encoding is not None:
            num_sent = len(body)
            body = await asyncio.to_thread(self._decode, body, encoding, shape)
            if len(body) > num_sent and not account.take(len(body) - num_sent):
                raise _no_room()
        if len(body) <= _INLINE_BYTES and not shape.is_refused:
            return self._parse(body, shape, check)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._parse, body, shape, check)

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
        """The bytes of the body; no bytes where ``shape`` refuses it."""
        body = bytearray()
        num_bytes = 0
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > self._limits.body_bytes:
                await discard_body(request.state.visit)
                raise body_too_large(self._limits.body_bytes)
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

    def _decode(self, body: bytearray, encoding: str, shape: BodyShape) -> bytearray:
        content = decoded(body, encoding, self._limits)
        shape.feed_all(content)
        return content

    def _parse(self, body: bytearray, shape: BodyShape, check: Callable[[dict[str, Any]], T]) -> T:
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

    def open_account(self, tenant: str) -> BodyAccount:
        account = BodyAccount(self, tenant)
        self._open[account] = None
        return account

    def take(self, account: BodyAccount, num_bytes: int) -> bool:
        """Counts bytes that have arrived; returns whether there is room for them, if need be in
        place of other bodies."""
        if account not in self._open:
            return False
        while self.num_bytes + num_bytes > self._max_bytes:
            slowest = self._slowest_instead_of(account)
            if slowest is None:
                return False
            slowest.drop()
        self.num_bytes += num_bytes
        account.num_bytes += num_bytes
        return True

    def forget(self, account: BodyAccount) -> None:
        if account in self._open:
            del self._open[account]
            self.num_bytes -= account.num_bytes

    def _slowest_instead_of(self, asking: BodyAccount) -> BodyAccount | None:
        """The body that gives way to ``asking``; None where ``asking`` itself would have to, or
        none is arriving."""
        arriving = [account for account in self._open if account.drop_body is not None]
        num_bytes_of: Counter[str] = Counter()
        for account in self._open:
            num_bytes_of[account.tenant] += account.num_bytes
        most = max((num_bytes_of[account.tenant] for account in arriving), default=0)
        for account in arriving:
            if num_bytes_of[account.tenant] == most and account.num_bytes:
                return None if account is asking else account
        return None


class BodyAccount:
    """The bytes of one body, from the first that arrives until the body is no longer needed.

    ``drop_body`` ends its arrival; it is ``None`` once the body is complete.
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
        """Ends its arrival, to give way to another body."""
        self.was_dropped = True
        self.close()
        if self.drop_body is not None:
            self.drop_body()

    def close(self) -> None:
        """Gives its bytes back; may be called twice."""
        self._budget.forget(self)


def _no_room() -> ApiError:
    return ApiError(
        503,
        "There is no room for this body at the moment. Try again in a few seconds.",
        code="bodies_in_flight",
        retry_after_s=_RETRY_AFTER_S,
        close=True,
    )
