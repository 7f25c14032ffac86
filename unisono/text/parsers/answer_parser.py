"""One answer's text, as it comes, to its parts. Knows a format; nothing of tokens.

White space beside reasoning and calls belongs to neither part: chat templates write it again.
"""

from __future__ import annotations

from collections.abc import Mapping

from unisono.text.parsers.answer_format import AnswerFormat, Schemas
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.marks import Marks
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner, Sink
from unisono.text.parts import Content, Part, Reasoning, ToolCall, join


class AnswerParser:
    """Args:
    schemas: of the tools that may be called; without any, calls are text like any other.
    is_thinking: the prompt ends inside reasoning.
    """

    def __init__(
        self, format: AnswerFormat, marks: Marks, schemas: Schemas, *, is_thinking: bool = False
    ) -> None:
        self._format = format
        self._marks = marks
        self._parts: list[Part] = []
        self._scanner = Scanner(marks)
        self._writer = CallWriter(self._add_call, format.new_id, schemas)
        self._opens = format.opens if schemas else ()
        self.is_thinking = is_thinking
        self._reading = self._answer()
        self._is_done = next(self._reading, True) is True

    @property
    def token_marks(self) -> Mapping[int, str]:
        """Token ids that the text says as one character, by id."""
        return self._marks.by_token

    @property
    def num_calls(self) -> int:
        """Number of calls that have begun."""
        return self._writer.count

    def push(self, text: str, *, final: bool = False) -> list[Part]:
        """The parts that this text makes certain; ``final`` says that no more will come."""
        self._scanner.feed(text)
        if final:
            self._scanner.end()
        if not self._is_done and (text or final):
            self._is_done = next(self._reading, True) is True
        parts, self._parts = self._parts, []
        return join(parts)

    def _answer(self) -> Reading[None]:
        mark = ""
        while True:
            if self.is_thinking:
                mark = yield from self._reasoning()
            else:
                mark = yield from self._content(after=mark)
            if not mark:
                return
            thinking = self._format.thinking
            if thinking and mark in (thinking.opens, thinking.closes):
                self.is_thinking = mark == thinking.opens
            else:
                yield from self._calls(mark)

    def _content(self, *, after: str) -> Reading[str]:
        thinking = self._format.thinking
        marks = (thinking.opens, thinking.closes) if thinking else ()
        text = _Trimmed(self._say, is_first=not after)
        while True:
            mark = yield from self._scanner.until(*marks, *self._opens, sink=text.add)
            if mark not in marks or self._marks.is_token(mark) or not text.has_said:
                break
            text.add(
                mark
            )  # letters of a mark that is no token mark something at the beginning only
        if not mark:
            text.keep()
        return mark

    def _reasoning(self) -> Reading[str]:
        """Reads up to what ends it. A call may, where the model forgets to end it before."""
        assert self._format.thinking is not None
        text = _Trimmed(self._think)
        return (
            yield from self._scanner.until(
                self._format.thinking.closes, *self._opens, sink=text.add
            )
        )

    def _calls(self, mark: str) -> Reading[None]:
        before = self._writer.count
        self._scanner.record()
        try:
            yield from self._format.calls(self._scanner, self._writer, mark)
        except NotACallError:
            if self._writer.count == before:
                (self._think if self.is_thinking else self._say)(
                    self._marks.spell(self._marks.written(mark) + self._scanner.recorded())
                )
        finally:
            self._scanner.recorded()

    def _say(self, text: str) -> None:
        self._parts.append(Content(self._marks.spell(text)))

    def _think(self, text: str) -> None:
        self._parts.append(Reasoning(self._marks.spell(text)))

    def _add_call(self, call: ToolCall) -> None:
        call.arguments = self._marks.spell(call.arguments)
        self._parts.append(call)


class _Trimmed:
    """Hands text on without the white space at its beginning and its end.

    Args:
        is_first: it begins the answer; white space there stays.
    """

    def __init__(self, sink: Sink, *, is_first: bool = False) -> None:
        self._sink = sink
        self._has_begun = is_first
        self._held = ""
        self.has_said = False

    def add(self, text: str) -> None:
        text = self._held + text
        if not self._has_begun:
            text = text.lstrip()
        kept = text.rstrip()
        self._held = text[len(kept) :]
        if kept:
            self._has_begun = self.has_said = True
            self._sink(kept)

    def keep(self) -> None:
        """Hands on the white space at the end, too."""
        if self._held:
            self._sink(self._held)
