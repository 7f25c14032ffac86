"""One answer's text, as it comes, to its parts. Knows a format; nothing of tokens."""

from __future__ import annotations

from collections.abc import Mapping

from unisono.text.parsers.answer_format import AnswerFormat, Schemas
from unisono.text.parsers.marks import Marks
from unisono.text.parsers.part_writer import PartWriter
from unisono.text.parsers.scanner import Scanner
from unisono.text.parts import Part


class AnswerParser:
    """A call that breaks off gives what has come of it: a name, and arguments that may not be JSON.

    Args:
        schemas: of the tools that may be called; without any, calls are text like any other.
        is_thinking: the prompt ends inside reasoning.
    """

    def __init__(
        self, format: AnswerFormat, marks: Marks, schemas: Schemas, *, is_thinking: bool = False
    ) -> None:
        self._marks = marks
        self._scanner = Scanner(marks)
        self._parts = PartWriter(marks, format.new_id, schemas, is_thinking=is_thinking)
        self._reading = format.answer(self._scanner, self._parts)
        self._is_done = next(self._reading, True) is True

    @property
    def is_thinking(self) -> bool:
        """The text so far ends inside reasoning."""
        return self._parts.is_thinking

    @property
    def token_marks(self) -> Mapping[int, str]:
        """Token ids that the text says as one character, by id."""
        return self._marks.by_token

    @property
    def num_calls(self) -> int:
        """Number of calls that have begun."""
        return self._parts.calls.count

    def push(self, text: str, *, final: bool = False) -> list[Part]:
        """The parts that this text makes certain; ``final`` says that no more will come."""
        self._scanner.feed(text)
        if final:
            self._scanner.end()
        if not self._is_done and (text or final):
            self._is_done = next(self._reading, True) is True
        return self._parts.take()
