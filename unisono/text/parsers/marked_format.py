"""Answers that are text, in which marks begin and end reasoning and calls: those of most models.

White space beside reasoning and calls belongs to neither part: chat templates write it again.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_grammar import CallGrammar, Node
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.calls_amid import amid
from unisono.text.parsers.part_writer import PartWriter
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.trimmed import Trimmed


@dataclass(frozen=True)
class MarkedFormat(AnswerFormat):
    opens: ClassVar[tuple[str, ...]] = ()
    """Marks that begin calls."""
    closes: ClassVar[tuple[str, ...]] = ()
    """Marks that end calls; one that is left over behind a call says nothing."""
    marks: ClassVar[tuple[str, ...]] = ()
    """Further marks of calls."""
    silent: ClassVar[tuple[str, ...]] = ()
    """Marks that say nothing, wherever they stand."""
    bare: ClassVar[str] = ""
    """Letters by which what follows reasoning, if any, may begin that is a call without a mark."""

    joins: ClassVar[str] = ""
    """Letters by which calls may go on behind one, without a mark."""

    @classmethod
    def fits(cls, template: str) -> bool:
        return any(mark in template for mark in cls.opens)

    @abstractmethod
    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        """Reads the calls behind the mark ``opened``, and what closes them.

        Raises:
            NotACallError: it is none.
        """

    def bare_calls(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        """Reads calls that no mark announces; see :meth:`calls`."""
        raise NotImplementedError

    def names(self, *, with_calls: bool) -> tuple[str, ...]:
        pairs = [pair for pair in (self.thinking, self.speaking) if pair]
        around = (*(mark for pair in pairs for mark in (pair.opens, pair.closes)), *self.silent)
        return (*around, *self.opens, *self.closes, *self.marks) if with_calls else around

    def calls_amid(self, grammar: CallGrammar) -> Node | None:
        if not self.spellings:
            return None
        bare, marked = (
            [
                call
                for one in self.spellings
                if one.is_bare is is_bare
                for call in grammar.calls_each(one)
            ]
            for is_bare in (True, False)
        )
        others = [mark for mark in self.names(with_calls=False) if mark not in self.opens]
        return amid(grammar, self.opens, marked, bare=bare, others=others, joins=self.joins)

    def answer(self, scanner: Scanner, parts: PartWriter) -> Reading[None]:
        mark = ""
        while True:
            if parts.is_thinking:
                mark = yield from self._reasoning(scanner, parts)
            else:
                mark = (yield from self._bare(scanner, parts, after=mark)) or mark
                mark = yield from self._content(scanner, parts, after=mark)
            if not mark:
                return
            if self.thinking and mark in self._thinking_marks:
                parts.is_thinking = mark != self.thinking.closes

    def _content(self, scanner: Scanner, parts: PartWriter, after: str) -> Reading[str]:
        """Reads up to a mark that begins something else. Letters of a mark that is no token mark
        something only where nothing has been said. Where an answer breaks off in a mark directly
        behind a call, the letters that are there are left out."""
        said = Trimmed(parts.say, is_first=not after)
        is_framed = bool(after) and after == self._frame[0]
        marks = (*self._thinking_marks, *self._opens(parts), *self._silent(parts))
        cut = self._cut_marks(parts) if after in self.opens else ()

        def add(text: str) -> None:
            is_cut = scanner.is_read and not said.has_said and bool(text.strip())
            if not (is_cut and any(mark.startswith(text.strip()) for mark in cut)):
                said.add(text)

        while True:
            mark = yield from scanner.until(*marks, sink=add)
            if not mark:
                said.keep()
                return ""
            if mark in self.opens:
                if (yield from self._attempt(scanner, parts, mark)):
                    return mark
                said.add(parts.marks.written(mark))
                continue
            is_mark = not said.has_said or parts.marks.is_token(mark)
            if is_mark and mark in self._thinking_marks:
                return mark
            if is_mark or mark in self.silent or (is_framed and mark == self._frame[1]):
                is_framed = mark == self._frame[0]
                said.trim()
            else:
                said.add(mark)

    def _reasoning(self, scanner: Scanner, parts: PartWriter) -> Reading[str]:
        """Reads up to what ends it. A call may, where the model forgets to end it before."""
        assert self.thinking is not None
        thought = Trimmed(parts.think)
        marks = (self.thinking.closes, *self._thinking_marks, *self._opens(parts))
        while True:
            mark = yield from scanner.until(*marks, sink=thought.add)
            if mark in self.opens:
                if (yield from self._attempt(scanner, parts, mark)):
                    return mark
            elif mark != self.thinking.opens:
                return mark
            elif parts.marks.is_token(mark) or not thought.has_said:
                continue
            thought.add(parts.marks.written(mark))

    def _cut_marks(self, parts: PartWriter) -> tuple[str, ...]:
        """Marks as they are written that may follow on a call."""
        return tuple(map(parts.marks.written, (*self.opens, *self.closes, *self.silent)))

    def _attempt(self, scanner: Scanner, parts: PartWriter, mark: str) -> Reading[bool]:
        return (yield from parts.attempt(scanner, self.calls(scanner, parts.calls, mark)))

    def _bare(self, scanner: Scanner, parts: PartWriter, after: str) -> Reading[str]:
        """Reads calls where nothing has been said; ``""`` where there are none."""
        ends = (*self._thinking_marks[1:], "")
        if not (self.bare and parts.calls.tools and after in ends):
            return ""
        calls = self.bare_calls(scanner, parts.calls)
        is_call = yield from parts.attempt(scanner, calls, is_announced=False)
        return self.bare if is_call else ""

    @property
    def _thinking_marks(self) -> tuple[str, ...]:
        return (self.thinking.opens, self.thinking.closes) if self.thinking else ()

    @property
    def _frame(self) -> tuple[str, str]:
        return (self.speaking.opens, self.speaking.closes) if self.speaking else ("", "")

    def _opens(self, parts: PartWriter) -> tuple[str, ...]:
        return self.opens if parts.calls.tools else ()

    def _silent(self, parts: PartWriter) -> tuple[str, ...]:
        frame = self._frame if self.speaking else ()
        return (*frame, *self.silent, *(self.closes if parts.calls.count else ()))
