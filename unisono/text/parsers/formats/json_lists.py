"""Lists of JSON objects behind one mark: Apriel, Nemotron, Command, Apertus, Granite 3, Phi-4."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_call import read_calls
from unisono.text.parsers.scanner import Reading, Scanner

_CLOSES = {
    "<tool_calls>": "</tool_calls>",
    "<TOOLCALL>": "</TOOLCALL>",
    "<|START_ACTION|>": "<|END_ACTION|>",
    "<|tools_prefix|>": "<|tools_suffix|>",
    "<|tool_call|>": "<|/tool_call|>",
    "<|function_call|>": "<|message_sep|>",
}


@dataclass(frozen=True)
class JsonLists(AnswerFormat):
    """``<tool_calls>[{"name": "f", "arguments": {...}}, ...]</tool_calls>``, with marks of several
    spellings."""

    name = "json-lists"
    opens = tuple(_CLOSES)
    marks = tuple(_CLOSES.values())

    @classmethod
    def fits(cls, template: str) -> bool:
        return any(mark in template for mark in _CLOSES)

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        yield from read_calls(scanner, writer)
        yield from scanner.at_mark(_CLOSES[opened])
