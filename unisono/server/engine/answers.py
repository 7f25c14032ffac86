"""Engine outputs on their way to the HTTP request that waits for them.

Knows request ids and outputs; nothing of sockets or text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from unisono.core.request import RequestOutput


class Answers:
    """The outputs of a few engine requests, as they come.

    Iterating gives all that has arrived since the last time as one list, so a reader that is slower
    than the engine gets longer lists instead of falling behind. Ends when every request has
    finished. Raises what ``fail`` was given, after what came before it.
    """

    def __init__(self, request_ids: Sequence[str], release: Callable[[list[str]], None]) -> None:
        self._open = set(request_ids)
        self._release = release
        self._pending: list[RequestOutput] = []
        self._error: BaseException | None = None
        self._has_begun = False
        self._wakeup: asyncio.Future[None] | None = None

    def push(self, output: RequestOutput) -> bool:
        """Adds an output; ``wake`` hands it over. Whether that should be at once: the first output
        of an answer, and its last."""
        if output.request_id not in self._open:
            return False
        is_last = output.finish_reason is not None
        if is_last:
            self._open.discard(output.request_id)
        self._pending.append(output)
        return is_last or not self._has_begun

    def fail(self, error: BaseException) -> None:
        """Ends the iteration with ``error``; what is still running is released."""
        if self._error is None:
            self._error = error
        self.close()
        self.wake()

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
        outputs, self._pending = self._pending, []
        self._has_begun = True
        return outputs

    def wake(self) -> None:
        """Lets the reader have what has been pushed."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)
