"""Conversations that go on by ``previous_response_id``: each response with its input and the one
before it.

Knows what a record says; nothing of how it is kept or of HTTP.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

from unisono.core.errors import ContextLengthError
from unisono.server.api_error import ApiError, bad_request
from unisono.server.openai.streaming import to_json
from unisono.server.responses.input_items import REFERENCE, response_of
from unisono.server.responses.response_store import ResponseStore

Json = dict[str, Any]
_INLINE_BYTES = 16 * 2**10
_PREVIOUS = "previous_response_id"
_log = logging.getLogger("unisono.server")


class Conversations:
    """Args:
    max_bytes: of what was said before a turn.
    """

    def __init__(self, store: ResponseStore, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes

    def close(self) -> None:
        self._store.close()

    async def before(self, tenant: str, name: str | None) -> list[Json]:
        """Items of all turns up to this response, its own answer included.

        Raises:
            ApiError: it, or one before it, is not stored.
            ContextLengthError: more than a turn may go on from.
        """
        turns: list[list[Json]] = []
        num_bytes = 0
        while name is not None:
            found = await self._store.get(tenant, name)
            if found is None:
                raise _not_found(is_first=not turns)
            num_bytes += len(found)
            if num_bytes > self._max_bytes:
                message = f"The conversation before this has more than {self._max_bytes} bytes."
                raise ContextLengthError(message, param=_PREVIOUS)
            record = await _loaded(found)
            turns.append([*record["input"], *record["response"]["output"]])
            name = record["before"]
        return [item for turn in reversed(turns) for item in turn]

    async def resolved(self, tenant: str, items: Sequence[Json]) -> list[Json]:
        """The items, those of stored responses in place of references to them.

        Raises:
            ApiError: such an item is not stored.
        """
        return [
            await self._referred(tenant, item["id"], index) if item["type"] == REFERENCE else item
            for index, item in enumerate(items)
        ]

    async def _referred(self, tenant: str, name: str, index: int) -> Json:
        response = response_of(name)
        found = None if response is None else await self._store.get(tenant, response)
        record = {"response": {"output": []}} if found is None else await _loaded(found)
        for item in record["response"]["output"]:
            if item["id"] == name:
                return item
        place = f"input[{index}].id"
        message = f"{place}: There is no such item of a stored response. Send the item itself."
        raise bad_request(message, param=place, code="item_not_found")

    async def keep(self, tenant: str, response: Json, items: Sequence[Json]) -> bool:
        """Stores a turn; returns whether it could."""
        record = {"response": response, "input": items, "before": response[_PREVIOUS]}
        try:
            said = await asyncio.to_thread(lambda: to_json(record).encode())
            return await self._store.put(tenant, response["id"], said)
        except ApiError as error:
            _log.error("A response could not be stored: %s", error.__cause__)
            return False

    async def response(self, tenant: str, name: str) -> Json:
        """Raises:
        ApiError: it is not stored.
        """
        record = await self._record(tenant, name)
        return record["response"]

    async def input_items(self, tenant: str, name: str) -> list[Json]:
        """Items that the response answers, those of earlier turns first.

        Raises:
            ApiError: it, or one before it, is not stored.
        """
        record = await self._record(tenant, name)
        return [*await self.before(tenant, record["before"]), *record["input"]]

    async def delete(self, tenant: str, name: str) -> None:
        """Raises:
        ApiError: it is not stored.
        """
        if not await self._store.delete(tenant, name):
            raise _no_response()

    async def _record(self, tenant: str, name: str) -> Json:
        found = await self._store.get(tenant, name)
        if found is None:
            raise _no_response()
        return await _loaded(found)


async def _loaded(record: bytes) -> Json:
    if len(record) <= _INLINE_BYTES:
        return json.loads(record)
    return await asyncio.to_thread(json.loads, record)


def _no_response() -> ApiError:
    message = "There is no such response here: it was not stored, or is no longer."
    return ApiError(404, message, param="response_id", code="response_not_found")


def _not_found(*, is_first: bool) -> ApiError:
    which = "That response" if is_first else "A response before that one"
    return bad_request(
        f"{_PREVIOUS}: {which} is not stored here, or no longer. Send the conversation as input.",
        param=_PREVIOUS,
        code="previous_response_not_found",
    )
