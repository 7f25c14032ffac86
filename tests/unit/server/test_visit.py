"""One owner of a request's output and end: what a client that leaves stops, and what is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from unisono.server.http import json_body
from unisono.server.http.visit import Visit

BODY = {"type": "http.request", "body": b"x", "more_body": False}
PART = {**BODY, "more_body": True}
GONE = {"type": "http.disconnect"}


class Resource:
    def __init__(self) -> None:
        self.num_closed = 0

    def close(self) -> None:
        self.num_closed += 1


class Client:
    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)


async def visited(client: Client, handler: Callable[[Visit], Awaitable[None]]) -> Visit:
    """The visit, once its handler has ended, however it did."""
    found: list[Visit] = []

    async def handle() -> None:
        visit = Visit(client.receive, client.send)
        found.append(visit)
        try:
            await handler(visit)
        finally:
            visit.close()

    await asyncio.wait_for(asyncio.gather(asyncio.create_task(handle()), return_exceptions=True), 5)
    return found[0]


async def read_and_wait(visit: Visit) -> None:
    while (await visit.receive()).get("more_body", False):
        pass
    await asyncio.Event().wait()


@pytest.mark.parametrize("messages", [[GONE], [PART, GONE], [PART, BODY, GONE]])
async def test_a_client_that_leaves_cancels_the_handler_and_what_is_held_is_closed(
    messages: list[dict[str, Any]],
) -> None:
    resource = Resource()

    async def handler(visit: Visit) -> None:
        visit.hold(resource)
        await read_and_wait(visit)

    visit = await visited(Client(*messages), handler)
    assert visit.client_left
    assert visit.status is None
    assert resource.num_closed == 1


async def test_the_body_may_be_read_in_another_task() -> None:
    async def handler(visit: Visit) -> None:
        arrival = asyncio.create_task(read_and_wait(visit))
        try:
            await asyncio.wait({arrival})
        finally:
            arrival.cancel()

    assert (await visited(Client(PART, GONE), handler)).client_left


@pytest.mark.parametrize("messages", [[BODY], [PART, PART, BODY]])
async def test_what_is_left_of_a_body_is_read_away_and_no_more_waited_for(
    messages: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_body, "_DISCARD_S", 60.0)

    async def handler(visit: Visit) -> None:
        await visit.receive()
        await json_body.discard_body(visit)
        done.append(visit.has_whole_body)

    done: list[bool] = []
    assert not (await visited(Client(*messages), handler)).client_left
    assert done == [True]


async def test_what_is_held_is_closed_when_the_handler_fails() -> None:
    resources = [Resource(), Resource()]

    async def handler(visit: Visit) -> None:
        for resource in resources:
            visit.hold(resource)
        raise ValueError

    assert not (await visited(Client(BODY), handler)).client_left
    assert [resource.num_closed for resource in resources] == [1, 1]


async def test_a_client_that_leaves_with_its_answer_has_not_left() -> None:
    async def handler(visit: Visit) -> None:
        await visit.receive()
        await visit.send({"type": "http.response.start", "status": 200, "headers": []})
        await visit.send({"type": "http.response.body", "body": b"", "more_body": False})
        assert await visit.receive() == GONE
        done.append(True)

    done: list[bool] = []
    visit = await visited(Client(BODY, GONE), handler)
    assert (visit.client_left, visit.status, done) == (False, 200, [True])
