"""Answers of several messages, each with a header that says what it is or whom it is for.

The prompt ends inside the header of the first, unless the answer goes on with a message.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.part_writer import PartWriter
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.trimmed import Trimmed

START, MESSAGE = "<|start|>", "<|message|>"


@dataclass(frozen=True)
class MessagesFormat(AnswerFormat):
    header_marks: ClassVar[tuple[str, ...]] = (START, MESSAGE)
    ends: ClassVar[tuple[str, ...]]
    """Marks that end a message. Some of them are the beginning of the next header."""
    marks: ClassVar[tuple[str, ...]] = ()
    """Further marks."""

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
