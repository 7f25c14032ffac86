"""JSON objects between marks of their own: Hermes, Qwen 2.5 and 3, Granite 4, MiMo, Reka, ..."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_call import read_calls
from unisono.text.parsers.scanner import Reading, Scanner


@dataclass(frozen=True)
class Hermes(AnswerFormat):
    """``<tool_call>{"name": "f", "arguments": {...}}</tool_call>``, once for each call."""

    name = "hermes"
    opens = ("<tool_call>",)
    marks = ("</tool_call>",)

    @classmethod
    def fits(cls, template: str) -> bool:
        return "<tool_call>" in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        yield from read_calls(scanner, writer)
        yield from scanner.at_mark("</tool_call>")
