"""Takes what a format reads, bit by bit, and hands it on as parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.marks import Marks
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner
from unisono.text.parts import Content, Part, Reasoning, join

_MAX_FAILED = 64
"""Calls of one answer that are none: each is read twice. Further marks are text."""


class PartWriter:
    """Args:
    new_id, schemas: as of :class:`CallWriter`.
    is_thinking: the answer begins inside reasoning.
    """

    def __init__(
        self,
        marks: Marks,
        new_id: Callable[[str, int], str],
        schemas: Mapping[str, Mapping[str, Any]],
        *,
        is_thinking: bool,
    ) -> None:
        self.marks = marks
        self.is_thinking = is_thinking
        self._parts: list[Part] = []
        self._num_failed = 0
        self.has_said = False
        self.calls = CallWriter(self._parts.append, new_id, schemas, marks)

    def say(self, text: str) -> None:
        self.has_said = True
        self._parts.append(Content(self.marks.spell(text)))

    def think(self, text: str) -> None:
        self._parts.append(Reasoning(self.marks.spell(text)))

    def take(self) -> list[Part]:
        """The parts since the last time."""
        parts = [part for part in self._parts if not _is_empty(part)]
        self._parts.clear()
        return join(parts)

    def attempt(
        self, scanner: Scanner, calls: Reading[None], *, is_announced: bool = True
    ) -> Reading[bool]:
        """Reads calls; False where they turn out to be none, and then nothing is read.

        Args:
            is_announced: a mark did so; what breaks off behind it is no text, but the beginning of
                a call.
        """
        if self._num_failed >= _MAX_FAILED:
            return False
        before = self.calls.count
        scanner.record()
        try:
            yield from calls
        except NotACallError:
            if self.calls.count == before and not (is_announced and scanner.is_read):
                self._num_failed += 1
                scanner.unread()
                return False
        scanner.forget()
        return True


def _is_empty(part: Part) -> bool:
    return isinstance(part, Content | Reasoning) and not part.text
