"""JSON objects between marks of their own: Hermes, Qwen 2.5 and 3, Granite 4, ERNIE 4.5, ..."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_call import read_calls
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import SPACE, CallSpelling


@dataclass(frozen=True)
class Hermes(MarkedFormat):
    """``<tool_call>{"name": "f", "arguments": {...}}</tool_call>``, once for each call."""

    name = "hermes"
    opens = ("<tool_call>",)
    closes = ("</tool_call>",)
    spellings = (
        CallSpelling(
            before_name=("<tool_call>", SPACE, '{"name": "'),
            before_arguments='", "arguments": ',
            end=("}", SPACE, "</tool_call>"),
            between=(SPACE,),
        ),
    )

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        yield from read_calls(scanner, writer)
        yield from scanner.at_mark("}</tool_call>", "</tool_call>")
