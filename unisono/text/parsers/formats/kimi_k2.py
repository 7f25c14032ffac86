"""Kimi K2."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_scanning import json_value
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling, Pattern


@dataclass(frozen=True)
class KimiK2(MarkedFormat):
    """``<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{...}<|tool_call_end|>``: the
    model writes the id of each call."""

    name = "kimi-k2"
    opens = ("<|tool_calls_section_begin|>", "<|tool_call_begin|>")
    closes = ("<|tool_calls_section_end|>", "<|tool_call_end|>")
    marks = ("<|tool_call_argument_begin|>",)
    spellings = (
        CallSpelling(
            before_name="<|tool_call_begin|>functions.",
            before_arguments=(":", Pattern("[0-9]{1,2}"), "<|tool_call_argument_begin|>"),
            end="<|tool_call_end|>",
            opens="<|tool_calls_section_begin|>",
            closes="<|tool_calls_section_end|>",
        ),
    )

    @classmethod
    def fits(cls, template: str) -> bool:
        return "<|tool_call_argument_begin|>" in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        begin = self.opens[1]
        if opened == begin or (yield from scanner.at_mark(begin)):
            yield from scanner.each(begin, lambda: self._call(scanner, writer))
        yield from scanner.at_mark(self.closes[0])

    def _call(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        given, _ = yield from scanner.name(*self.marks)
        name = given.rpartition(":")[0] or given
        writer.begin(name.removeprefix("functions."), given)
        yield from json_value(scanner, writer.arguments)
        yield from scanner.at_mark(self.closes[1])

    def new_id(self, name: str, index: int) -> str:
        return f"functions.{name}:{index}"
