"""DeepSeek: V3 and R1 with fenced JSON, V3.1 with plain JSON."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_scanning import json_value
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import SPACE, CallSpelling

_FENCE = "```json"


@dataclass(frozen=True)
class DeepSeek(MarkedFormat):
    """``<｜tool▁call▁begin｜>f<｜tool▁sep｜>{...}<｜tool▁call▁end｜>``, all between two marks.

    V3 writes ``function`` for the name, and the name and the JSON in a fence behind it."""

    name = "deepseek"
    opens = ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>")
    closes = ("<｜tool▁calls▁end｜>", "<｜tool▁call▁end｜>")
    marks = ("<｜tool▁sep｜>",)
    spellings = (
        CallSpelling(
            before_name="<｜tool▁call▁begin｜>",
            before_arguments="<｜tool▁sep｜>",
            end="<｜tool▁call▁end｜>",
            opens="<｜tool▁calls▁begin｜>",
            closes="<｜tool▁calls▁end｜>",
        ),
        CallSpelling(
            before_name="<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
            before_arguments=f"\n{_FENCE}\n",
            end="\n```<｜tool▁call▁end｜>",
            opens="<｜tool▁calls▁begin｜>",
            between=(SPACE,),
            closes="<｜tool▁calls▁end｜>",
            sign=_FENCE,
        ),
    )

    @classmethod
    def fits(cls, template: str) -> bool:
        return "<｜tool▁sep｜>" in template or "<｜tool▁outputs▁begin｜>" in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        begin = self.opens[1]
        if opened == begin or (yield from scanner.at_mark(begin)):
            yield from scanner.each(begin, lambda: self._call(scanner, writer))
        yield from scanner.at_mark(self.closes[0])

    def _call(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        name, _ = yield from scanner.name("<｜tool▁sep｜>")
        if (yield from scanner.peek()) != "{":
            name, _ = yield from scanner.name(_FENCE)
        writer.begin(name)
        yield from json_value(scanner, writer.arguments)
        yield from scanner.at_mark("```")
        yield from scanner.at_mark(self.closes[1])
