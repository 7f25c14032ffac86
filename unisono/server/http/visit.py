"""One request on its way through the server: the one owner of its output and of its end.

Knows ASGI messages; nothing of routes. A client that leaves is no error: whatever was being done
for it is cancelled, and nothing is sent, logged as a failure or counted as a response.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import NoReturn, Protocol

from starlette.types import Message, Receive, Send


class Closable(Protocol):
    def close(self) -> None: ...


class Visit:
    """Stands between one request and its handler; made in the task that handles it.

    Whenever the client leaves before it is answered, the handler is cancelled; from the end of the
    body on a task waits beside it for that. What is held for the client is closed at the end,
    however it comes.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.client_left = False
        """Before the response was complete."""
        self.status: int | None = None
        """Status of the response, once it has begun."""
        self._receive = receive
        self._send = send
        self._handler = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self._is_answered = False
        self._held = ExitStack()

    def hold(self, resource: Closable) -> None:
        """Closes it with the visit."""
        self._held.callback(resource.close)

    @property
    def has_whole_body(self) -> bool:
        """True once the last part of the body has come."""
        return self._watch is not None

    async def receive(self) -> Message:
        """The next part of the body; behind it nothing comes but the disconnect of a client that
        has been answered."""
        if self._watch is not None:
            await asyncio.wait([self._watch])
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            if not self._is_answered:
                await self._leave()
        elif not message.get("more_body", False):
            self._watch = asyncio.create_task(self._until_gone())
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif not message.get("more_body", False):
            self._is_answered = True
        await self._send(message)

    def close(self) -> None:
        """The handler is done."""
        if self._watch is not None:
            self._watch.cancel()
        self._held.close()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._is_answered:
            await self._leave()

    async def _leave(self) -> NoReturn:
        """Waits to be cancelled with, or by, the handler."""
        self.client_left = True
        if self._handler is not None:
            self._handler.cancel()
        await asyncio.Future()
        raise AssertionError
