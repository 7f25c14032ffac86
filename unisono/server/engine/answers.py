"""Engine outputs on their way to the HTTP request that waits for them.

Knows request ids and outputs; nothing of sockets or text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from unisono.core.request import RequestOutput


class Answers:
    """The outputs of a few engine requests, as they come.

    Iterating gives all that has arrived since the last time, one output for each request, so a
    reader that is slower than the engine gets several tokens at once instead of falling behind.
    Ends when every request has finished. Raises what ``fail`` was given, after what came before it.
    """

    def __init__(self, request_ids: Sequence[str], release: Callable[[list[str]], None]) -> None:
        self._open = set(request_ids)
        self._release = release
        self._pending: dict[str, RequestOutput] = {}
        self._error: BaseException | None = None
        self._wakeup: asyncio.Future[None] | None = None

    def push(self, output: RequestOutput) -> None:
        """Adds an output, and lets the reader have it."""
        name = output.request_id
        if name not in self._open:
            return
        if output.finish_reason is not None:
            self._open.discard(name)
        if (earlier := self._pending.get(name)) is None:
            self._pending[name] = output
        else:
            earlier.add(output)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Ends the iteration with ``error``; what is still running is released."""
        if self._error is None:
            self._error = error
        self.close()
        self._wake()

    def abort(self, request_id: str) -> None:
        """Nobody wants more of this one."""
        if request_id in self._open:
            self._open.discard(request_id)
            self._release([request_id])

    def close(self) -> None:
        """Aborts whatever is still running."""
        if self._open:
            names = sorted(self._open)
            self._open.clear()
            self._release(names)

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> list[RequestOutput]:
        while not self._pending:
            if self._error is not None:
                raise self._error
            if not self._open:
                raise StopAsyncIteration
            self._wakeup = asyncio.get_running_loop().create_future()
            await self._wakeup
        outputs, self._pending = self._pending, {}
        return list(outputs.values())

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)
