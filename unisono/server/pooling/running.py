"""Token ids of many texts to their numbers, a bounded part of them in the engine at a time.

Knows engine requests; nothing of HTTP or of what the numbers mean.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from unisono.core.errors import RequestFailedError
from unisono.core.pooling import Pooling
from unisono.core.request import Request
from unisono.core.sampling import SamplingParams
from unisono.server.engine.answers import Answers
from unisono.server.engine.supervisor import EngineSupervisor
from unisono.server.metrics import Metrics

_WAVES = 2
"""Waves in flight: while one ends, the engine has the next."""
_NO_ANSWER = SamplingParams(max_tokens=0)
_log = logging.getLogger("unisono.server")


@dataclass(kw_only=True)
class PooledRun:
    """The work of one HTTP request. Whoever makes it closes it.

    Args:
        name: begins the ids of its engine requests.
        wave: texts that are handed to the engine together.
    """

    engine: EngineSupervisor
    metrics: Metrics
    name: str
    wave: int
    priority: int = 0
    tenant: str = ""
    cache_salt: str = ""
    adapter: str = ""
    _open: deque[Answers] = field(default_factory=deque)

    async def numbers(self, token_ids: Sequence[Sequence[int]], how: Pooling) -> list[bytes]:
        """The numbers of each text, float32.

        Raises:
            RequestError, EngineDeadError: the first that failed; the others are aborted.
        """
        requests = iter([self._request(i, ids, how) for i, ids in enumerate(token_ids)])
        found: dict[str, bytes] = {}
        while wave := list(islice(requests, self.wave)):
            self._open.append(await self.engine.submit(wave))
            if len(self._open) == _WAVES:
                await self._collect(found)
        while self._open:
            await self._collect(found)
        return [found[self._id(index)] for index in range(len(token_ids))]

    def close(self) -> None:
        """Frees what the engine still holds; safe to call twice."""
        for answers in self._open:
            answers.close()

    def _id(self, index: int) -> str:
        return f"{self.name}-{index}"

    def _request(self, index: int, token_ids: Sequence[int], how: Pooling) -> Request:
        return Request(
            id=self._id(index),
            prompt_token_ids=tuple(token_ids),
            params=_NO_ANSWER,
            pooling=how,
            priority=self.priority,
            tenant=self.tenant,
            cache_salt=self.cache_salt,
            adapter=self.adapter,
        )

    async def _collect(self, found: dict[str, bytes]) -> None:
        """All of the oldest wave."""
        began_s = time.monotonic()
        async for outputs in self._open[0]:
            for output in outputs:
                if output.pooled is None:
                    self.metrics.finished("error", time.monotonic() - began_s)
                    _log.error("The engine failed on a text: %s", output.error)
                    raise RequestFailedError("The engine could not finish this request.")
                found[output.request_id] = output.pooled
                self.metrics.finished("pooled", time.monotonic() - began_s)
        self._open.popleft()
