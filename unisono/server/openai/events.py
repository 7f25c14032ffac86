"""The parts of a stream that both generating routes share: the head of each event, and usage.

Events are put together from prepared text around the JSON of what is new: a token costs no object
model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from json import JSONEncoder
from typing import Any

from unisono.server.openai.generation import Usage
from unisono.text.answer import AnswerDelta

__all__ = ["Events", "to_json"]

to_json = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Events(ABC):
    """Writes the events of one stream; everything of a step goes out in one write.

    Args:
        kind: ``object`` of each event.
        head: ``id``, ``created`` and ``model`` of the response.
        usage: shown in an event of its own at the end; ``None`` where the client did not ask.
        counts: whether every event says the usage so far.
    """

    def __init__(
        self, kind: str, head: dict[str, Any], *, usage: Usage | None, counts: bool
    ) -> None:
        fields = to_json({**head, "object": kind, "choices": []})
        self._usage = usage
        self._counts = counts
        self._num_tokens = 0
        self._before = f"data: {fields.removesuffix(']}')}"
        self._after = self._ending(usage if counts else None)

    def opening(self) -> bytes:
        """Events before the first delta."""
        return b""

    def events(self, deltas: list[AnswerDelta]) -> bytes:
        return "".join(map(self._counted, deltas)).encode()

    def closing(self) -> bytes:
        """Events behind the last delta."""
        return b"" if self._usage is None else self._event("", self._ending(self._usage)).encode()

    @abstractmethod
    def _of(self, delta: AnswerDelta) -> str:
        """The events of one delta."""

    def _event(self, choice: str, ending: str | None = None) -> str:
        return f"{self._before}{choice}{self._after if ending is None else ending}"

    def _counted(self, delta: AnswerDelta) -> str:
        """The events of one delta, with the usage up to it where each event has one."""
        if self._counts and self._usage is not None:
            self._num_tokens += len(delta.token_ids)
            self._after = self._ending(replace(self._usage, completion_tokens=self._num_tokens))
        return self._of(delta)

    def _ending(self, shown: Usage | None) -> str:
        """The end of an event, behind its choices; without usage where the client did not ask."""
        if self._usage is None:
            return "]}\n\n"
        return f'],"usage":{to_json(shown.as_dict() if shown else None)}}}\n\n'
