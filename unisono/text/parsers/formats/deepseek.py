"""DeepSeek: V3 and R1 with fenced JSON, V3.1 with plain JSON."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner

_FENCE = "```json"


@dataclass(frozen=True)
class DeepSeek(AnswerFormat):
    """``<｜tool▁call▁begin｜>f<｜tool▁sep｜>{...}<｜tool▁call▁end｜>``, all between two marks.

    V3 writes ``function`` for the name, and the name and the JSON in a fence behind it."""

    name = "deepseek"
    opens = ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>")
    marks = ("<｜tool▁calls▁end｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>")

    @classmethod
    def fits(cls, template: str) -> bool:
        return "<｜tool▁sep｜>" in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        begin, end = self.opens[1], "<｜tool▁calls▁end｜>"
        if opened == begin or (yield from scanner.at_mark(begin)):
            while True:
                yield from self._call(scanner, writer)
                if not (yield from scanner.at_mark(begin)):
                    break
        yield from scanner.at_mark(end)

    def _call(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        close = "<｜tool▁call▁end｜>"
        name, mark = yield from scanner.text_until("<｜tool▁sep｜>", close)
        if mark != "<｜tool▁sep｜>":
            raise NotACallError
        name = name.strip()
        if (yield from scanner.peek()) != "{":
            name, mark = yield from scanner.text_until(_FENCE, close)
            if mark != _FENCE:
                raise NotACallError
        writer.begin(name.strip())
        yield from scanner.json_value(writer.arguments)
        yield from scanner.until(close, sink=lambda text: None)
