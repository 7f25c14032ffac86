"""Text that comes bit by bit, for parsers that are written as if it were whole.

A parser is a generator that yields where it needs more text. What it gives depends on the text
alone, not on how that was cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeVar

from unisono.text.parsers.mark_finder import MarkFinder
from unisono.text.parsers.marks import Marks

T = TypeVar("T")
Reading = Generator[None, None, T]
Sink = Callable[[str], None]
_MAX_NAME = 256
_LINE_END = re.compile(r"\n")
_SPACE = re.compile(r"\s")
_NO_SPACE = re.compile(r"\S")


class NotACallError(Exception):
    """The text that a mark announced as a call is none."""


class Scanner:
    """``marks`` are named by their letters, whether or not they are tokens."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self._finders: dict[tuple[str, ...], MarkFinder] = {}
        self._text = ""
        self._at = 0
        """Characters of ``_text`` that are read."""
        self.is_whole = False
        """No more text comes."""
        self._record: list[str] | None = None

    def feed(self, text: str) -> None:
        self._text = self._text[self._at :] + text
        self._at = 0

    def end(self) -> None:
        """Says that no more text comes."""
        self.is_whole = True

    @property
    def is_read(self) -> bool:
        """Nothing is left to read, and nothing will come."""
        return self.is_whole and self._at == len(self._text)

    def record(self) -> None:
        """Keeps what is read from here on, for :meth:`unread`."""
        self._record = []

    def forget(self) -> None:
        """Keeps no more."""
        self._record = None

    def unread(self) -> None:
        """Goes back to :meth:`record`."""
        self._text = "".join([*(self._record or ()), self._text[self._at :]])
        self._at, self._record = 0, None

    def take(self, count: int) -> str:
        """The next characters, of those that are there."""
        end = min(self._at + count, len(self._text))
        text, self._at = self._text[self._at : end], end
        if self._record is not None:
            self._record.append(text)
        return text

    def put_back(self, text: str) -> None:
        """Takes back what was read last."""
        if self._at < len(text):
            self._text, self._at = text + self._text[self._at :], len(text)
        self._at -= len(text)
        surplus = len(text) if self._record else 0
        while surplus > 0 and self._record:
            last = self._record.pop()
            self._record += [last[:-surplus]] if len(last) > surplus else []
            surplus -= len(last)

    def next_of(self, pattern: re.Pattern[str], sink: Sink) -> str:
        """Reads up to what a pattern of one character finds, or all that is there; ``""`` then."""
        found = pattern.search(self._text, self._at)
        end = found.start() if found else len(self._text)
        if text := self.take(end - self._at):
            sink(text)
        return found.group() if found else ""

    def until(self, *marks: str, sink: Sink) -> Reading[str]:
        """Reads up to the mark that is complete first, and over it; ``""`` is the end of the text.
        What is before it goes to ``sink`` as soon as it is certain."""
        finder = self._finder(marks)
        while True:
            found = finder.find(self._text, self._at)
            if found:
                begin, end, mark = found
            else:
                begin = end = finder.certain_end(self._text, self._at)
                if self.is_whole:
                    begin = end = len(self._text)
            if text := self.take(begin - self._at):
                sink(text)
            self.take(end - begin)
            if found or self.is_whole:
                return mark if found else ""
            yield

    def text_until(self, *marks: str) -> Reading[tuple[str, str]]:
        """The text before a mark, and the mark, as of :meth:`until`."""
        pieces: list[str] = []
        mark = yield from self.until(*marks, sink=pieces.append)
        return "".join(pieces), mark

    def name(self, *marks: str, has_spaces: bool = False) -> Reading[tuple[str, str]]:
        """The name of a function before a mark, and the mark.

        Args:
            has_spaces: more may stand there than a name, in one line.

        Raises:
            NotACallError: it is no name, or no mark follows.
        """
        space = _LINE_END if has_spaces else _SPACE
        name = ""

        def add(text: str) -> None:
            nonlocal name
            name += text
            if len(name) > _MAX_NAME or space.search(name.strip()):
                self.put_back(name)  # nothing is read, however much was there
                raise NotACallError

        mark = yield from self.until(*marks, sink=add)
        if not name.strip() or not mark:
            raise NotACallError
        return name.strip(), mark

    def peek(self, count: int = 1) -> Reading[str]:
        """The next characters behind white space, which is read; fewer at the end of the text."""
        while True:
            start = _NO_SPACE.search(self._text, self._at)
            if (space := (start.start() if start else len(self._text)) - self._at) > 0:
                self.take(space)
            if len(self._text) - self._at >= count or self.is_whole:
                return self._text[self._at : self._at + count]
            yield

    def each(self, begin: str, read: Callable[[], Reading[None]]) -> Reading[None]:
        """Reads one, behind a mark that is read already, and as many as follow with that mark."""
        while True:
            yield from read()
            if not (yield from self.at_mark(begin)):
                return

    def at_mark(self, *marks: str) -> Reading[str]:
        """Reads the mark that follows, behind white space; ``""`` where none does. Of several, the
        one that is named first."""
        written = {self.marks.written(mark): mark for mark in marks}
        longest = max(map(len, written))
        while True:
            yield from self.peek()
            ahead = self._text[self._at : self._at + longest]
            for letters, mark in written.items():
                if ahead.startswith(letters):
                    self.take(len(letters))
                    return mark
                if not self.is_whole and letters.startswith(ahead):
                    break
            else:
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
            self.take(1)

    def _finder(self, marks: tuple[str, ...]) -> MarkFinder:
        if marks not in self._finders:
            names = {self.marks.written(mark): mark for mark in reversed(marks)}
            self._finders[marks] = MarkFinder(names)
        return self._finders[marks]
