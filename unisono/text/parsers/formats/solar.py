"""Solar Open."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.answer_format import Pair
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_scanning import json_value
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling, Pattern

_BEGIN, _NAME = "<|tool_call:begin|>", "<|tool_call:name|>"
_ARGUMENTS, _END = "<|tool_call:args|>", "<|tool_call:end|>"


@dataclass(frozen=True)
class Solar(MarkedFormat):
    """``<|tool_calls|><|tool_call:begin|>id<|tool_call:name|>f<|tool_call:args|>{...}
    <|tool_call:end|><|calls|>``."""

    name = "solar"
    opens = ("<|tool_calls|>", _BEGIN)
    closes = ("<|calls|>", _END)
    marks = (_NAME, _ARGUMENTS)
    spellings = (
        CallSpelling(
            before_name=(_BEGIN, Pattern("[A-Za-z0-9_-]{1,24}"), _NAME),
            before_arguments=_ARGUMENTS,
            end=_END,
            opens="<|tool_calls|>",
            closes="<|calls|>",
        ),
    )
    silent = ("<|begin|>assistant",)
    own_thinking = Pair("<|think|>", "<|end|>")
    own_speaking = Pair("<|content|>", "<|end|>")

    @classmethod
    def fits(cls, template: str) -> bool:
        return _BEGIN in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        if opened == _BEGIN or (yield from scanner.at_mark(_BEGIN)):
            yield from scanner.each(_BEGIN, lambda: self._call(scanner, writer))
        yield from scanner.at_mark("<|calls|>")

    def _call(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        given, _ = yield from scanner.name(_NAME)
        name, _ = yield from scanner.name(_ARGUMENTS)
        writer.begin(name, given)
        yield from json_value(scanner, writer.arguments)
        yield from scanner.at_mark(_END)
