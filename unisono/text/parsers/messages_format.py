"""Answers of several messages, each with a header that says what it is or whom it is for.

The prompt ends inside the header of the first, unless the answer goes on with a message.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_grammar import CallGrammar, Node
from unisono.text.parsers.part_writer import PartWriter
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.trimmed import Trimmed

_MAX_MESSAGES = 64
START, MESSAGE = "<|start|>", "<|message|>"


@dataclass(frozen=True)
class MessagesFormat(AnswerFormat):
    header_marks: ClassVar[tuple[str, ...]] = (START, MESSAGE)
    ends: ClassVar[tuple[str, ...]]
    """Marks that end a message. Some of them are the beginning of the next header."""
    marks: ClassVar[tuple[str, ...]] = ()
    """Further marks."""
    plain_headers: ClassVar[tuple[str, ...]]
    """Headers of messages that are content."""

    def calls_alone(self, grammar: CallGrammar, has_sign: Callable[[str], bool]) -> Node | None:
        """Behind one thought or none."""
        if not (self.own_thinking and self._has_tokens(grammar)):
            return None
        thought = self._message(grammar, self.own_thinking.opens)
        return [{"any": [[], [*thought, *self._next(grammar)]]}, self.called(grammar)]

    def calls_amid(self, grammar: CallGrammar) -> Node | None:
        if not (self.own_thinking and self._has_tokens(grammar)):
            return None
        headers = (self.own_thinking.opens, *self.plain_headers)
        plain = {"any": [self._message(grammar, header) for header in headers]}
        before = {"many": [plain, *self._next(grammar)], "most": _MAX_MESSAGES}
        return [before, {"any": [plain, self.called(grammar)]}]

    @abstractmethod
    def called(self, grammar: CallGrammar) -> Node:
        """A message that calls tools."""

    def _message(self, grammar: CallGrammar, header: str) -> list[Node]:
        """A message of anything but marks, up to its end."""
        marks = {*self.header_marks, *self.ends}
        tokens = [piece for mark in sorted(marks) for piece in grammar.letters(mark)]
        return [*grammar.letters(header), {"between": [], "tokens": tokens}]

    def _next(self, grammar: CallGrammar) -> list[Node]:
        """The end of a message, and the beginning of the next."""
        assert self.own_thinking is not None
        return grammar.letters(f"{self.own_thinking.closes}{START}assistant")

    def _has_tokens(self, grammar: CallGrammar) -> bool:
        marks = (*self.header_marks, *self.ends)
        return all(isinstance(grammar.letters(mark)[0], int) for mark in marks)

    @abstractmethod
    def message(self, scanner: Scanner, parts: PartWriter, header: str) -> Reading[str]:
        """Reads a message up to what ends it, and returns that.

        Args:
            header: with the letters of its marks.
        """

    def names(self, *, with_calls: bool) -> tuple[str, ...]:
        return (*self.header_marks, *self.ends, *self.marks)

    def answer(self, scanner: Scanner, parts: PartWriter) -> Reading[None]:
        scanner.record()
        is_header = yield from scanner.at_mark(*self.header_marks, "to=")
        scanner.unread()
        if is_header:
            mark = START
        else:
            mark = yield from self.text(scanner, parts)
        while mark:
            header, has_message = yield from scanner.text_until(MESSAGE)
            if not has_message:
                return
            for name in self.header_marks:
                header = header.replace(parts.marks.written(name), name)
            mark = yield from self.message(scanner, parts, mark + header)

    def text(self, scanner: Scanner, parts: PartWriter, *opens: str) -> Reading[str]:
        """Reads a message that is text, up to what ends it or one of ``opens``."""
        before = "\n\n" if parts.has_said and not parts.is_thinking else ""
        text = Trimmed(parts.think if parts.is_thinking else parts.say, before=before)
        mark = yield from scanner.until(*opens, *self.ends, sink=text.add)
        if not mark:
            text.keep()
        return mark
