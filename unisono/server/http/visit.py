"""One request on its way through the server, and whether its client is still there.

Knows ASGI messages; nothing of routes. A client that leaves is no error: whatever was being done
for it is cancelled, and nothing is sent, logged as a failure or counted as a response.
"""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Send

__all__ = ["Visit"]


class Visit:
    """Stands between one request and its handler; made in the task that handles it.

    From the end of the body on it waits beside the handler for the client to leave, and then
    cancels the handler.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.client_left = False
        """Before the response was complete."""
        self.status: int | None = None
        """Of the response, once it has begun."""
        self._receive = receive
        self._send = send
        self._handler = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self._is_answered = False

    async def receive(self) -> Message:
        if self._watch is not None:
            await asyncio.wait([self._watch])
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.client_left = not self._is_answered
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

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._is_answered and self._handler is not None:
            self.client_left = True
            self._handler.cancel()
