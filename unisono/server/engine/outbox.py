"""Outputs on their way out of the engine process: those of quick steps travel together.

Knows outputs and time; nothing of sockets.
"""

from __future__ import annotations

from unisono.core.clock import Clock
from unisono.core.request import RequestOutput

_INTERVAL_S = 0.0015
"""For each request in flight: what it costs the machine to hand over and write out an output, with
room to spare. A fast model with many readers gets several tokens into one write, instead of losing
its processor to writing."""
_MAX_INTERVAL_S = 0.05


class Outbox:
    """The first output of a request and its last leave at once, others when the last time is long
    enough ago for so many requests. Outputs of one request leave as one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, RequestOutput] = {}
        self._begun: set[str] = set()
        """Requests in flight of which something has left."""
        self._urgent: dict[str, None] = {}  # in order, which a set of texts has not
        self._left_s = clock.now()

    def add(self, output: RequestOutput) -> None:
        name = output.request_id
        if (earlier := self._held.get(name)) is None:
            self._held[name] = output
        else:
            earlier.add(output)
        if output.finish_reason is not None:
            self._begun.discard(name)
            self._urgent[name] = None
        elif name not in self._begun:
            self._begun.add(name)
            self._urgent[name] = None

    def forget(self, name: str) -> None:
        """Nobody waits for this request any longer."""
        self._held.pop(name, None)
        self._begun.discard(name)
        self._urgent.pop(name, None)

    def take(self) -> list[RequestOutput]:
        """The outputs that leave now."""
        now_s = self._clock.now()
        interval_s = min(_INTERVAL_S * len(self._begun), _MAX_INTERVAL_S)
        if self._held and now_s >= self._left_s + interval_s:
            self._left_s = now_s
            leaving, self._held = self._held, {}
        else:
            leaving = {name: self._held.pop(name) for name in self._urgent}
        self._urgent.clear()
        return list(leaving.values())
