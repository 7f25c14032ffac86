"""Text that comes bit by bit, for parsers that are written as if it were whole.

A parser is a generator that yields where it needs more text. What it gives depends on the text
alone, not on how that was cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from typing import TypeVar

from unisono.text.parsers.marks import Marks

T = TypeVar("T")
Reading = Generator[None, None, T]
Sink = Callable[[str], None]
_NO_SPACE = re.compile(r"\S")
_JSON = re.compile('[]\\["\\\\{}\ud800-\udfff]')
_STRING = re.compile('["\\\\]')
_SCALAR_END = re.compile("[],}\\s\ud800-\udfff]")


class NotACallError(Exception):
    """The text that a mark announced as a call is none."""


class Scanner:
    """``marks`` are named by their letters, whether or not they are tokens."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self._text = ""
        self._is_whole = False
        self._record: list[str] | None = None

    def feed(self, text: str) -> None:
        self._text += text

    def end(self) -> None:
        """Says that no more text comes."""
        self._is_whole = True

    def record(self) -> None:
        """Keeps what is read from here on, for :meth:`recorded`."""
        self._record = []

    def recorded(self) -> str:
        """All that was read since :meth:`record`; keeps no more."""
        text, self._record = "".join(self._record or ()), None
        return text

    def until(self, *marks: str, sink: Sink) -> Reading[str]:
        """Reads up to the mark that is complete first, and over it; ``""`` is the end of the text.
        What is before it goes to ``sink`` as soon as it is certain."""
        written = {self.marks.written(mark): mark for mark in marks}
        while True:
            found = [(at + len(w), -len(w), w) for w in written if (at := self._text.find(w)) >= 0]
            if found:
                end, _, first = min(found)
                sink(self._take(end)[: -len(first)])
                return written[first]
            if self._is_whole:
                sink(self._take(len(self._text)))
                return ""
            held = max((_overlap(self._text, w) for w in written), default=0)
            sink(self._take(len(self._text) - held))
            yield

    def text_until(self, *marks: str) -> Reading[tuple[str, str]]:
        """The text before a mark, and the mark, as of :meth:`until`."""
        pieces: list[str] = []
        mark = yield from self.until(*marks, sink=pieces.append)
        return "".join(pieces), mark

    def peek(self, count: int = 1) -> Reading[str]:
        """The next characters behind white space, which is read; fewer at the end of the text."""
        while True:
            start = _NO_SPACE.search(self._text)
            self._take(start.start() if start else len(self._text))
            if len(self._text) >= count or self._is_whole:
                return self._text[:count]
            yield

    def at_mark(self, *marks: str) -> Reading[str]:
        """Reads the mark that follows, behind white space; ``""`` where none does."""
        written = {self.marks.written(mark): mark for mark in marks}
        while True:
            yield from self.peek()
            for letters, mark in written.items():
                if self._text.startswith(letters):
                    self._take(len(letters))
                    return mark
            if self._is_whole or not any(w.startswith(self._text) for w in written):
                return ""
            yield

    def expect(self, letters: str) -> Reading[None]:
        """Reads these letters, behind white space.

        Raises:
            NotACallError: something else follows.
        """
        for letter in letters:
            if (yield from self.peek()) != letter:
                raise NotACallError
            self._take(1)

    def json_value(self, sink: Sink) -> Reading[bool]:
        """Reads one JSON value as it is written; False where the text ends inside it."""
        first = yield from self.peek()
        if first == '"':
            self._take_to(sink, 1)
            return (yield from self._string(sink))
        if first not in ("{", "["):
            return (yield from self._scalar(sink))
        depth = 0
        while True:
            if (found := _JSON.search(self._text)) is None:
                self._take_to(sink, len(self._text))
                if self._is_whole:
                    return False
                yield
                continue
            letter = found.group()
            if "\ud800" <= letter <= "\udfff":  # a mark: the model has left the value
                self._take_to(sink, found.start())
                return False
            self._take_to(sink, found.end())
            if letter == '"':
                if not (yield from self._string(sink)):
                    return False
            elif letter != "\\":
                depth += 1 if letter in "{[" else -1
            if depth == 0:
                return True

    def json_text(self) -> Reading[str]:
        """One JSON value as it is written.

        Raises:
            NotACallError: the text ends inside it.
        """
        pieces: list[str] = []
        if not (yield from self.json_value(pieces.append)):
            raise NotACallError
        return "".join(pieces)

    def json_string(self) -> Reading[str]:
        """The text that a JSON string says.

        Raises:
            NotACallError: no string follows.
        """
        try:
            value = json.loads((yield from self.json_text()))
        except ValueError as error:
            raise NotACallError from error
        if not isinstance(value, str):
            raise NotACallError
        return value

    def _string(self, sink: Sink) -> Reading[bool]:
        """The rest of a string, behind its first quote."""
        while True:
            found = _STRING.search(self._text)
            if found is None or found.end() + (found.group() == "\\") > len(self._text):
                self._take_to(sink, len(self._text) if found is None else found.start())
                if self._is_whole:
                    self._take_to(sink, len(self._text))
                    return False
                yield
            else:
                is_end = found.group() == '"'
                self._take_to(sink, found.end() if is_end else found.end() + 1)
                if is_end:
                    return True

    def _scalar(self, sink: Sink) -> Reading[bool]:
        while True:
            found = _SCALAR_END.search(self._text)
            self._take_to(sink, found.start() if found else len(self._text))
            if found or self._is_whole:
                return found is not None
            yield

    def _take_to(self, sink: Sink, count: int) -> None:
        if text := self._take(count):
            sink(text)

    def _take(self, count: int) -> str:
        text, self._text = self._text[:count], self._text[count:]
        if self._record is not None:
            self._record.append(text)
        return text


def _overlap(text: str, mark: str) -> int:
    """Length of the longest beginning of the mark that the text ends with."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
