"""Kimi K3: tags whose angle brackets are tokens."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from unisono.text.parsers.answer_format import Pair
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_scanning import json_value
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling, Members, Pattern, Value

_SEPARATOR = "<|sep|>"
_CALL, _ARGUMENT, _JSON = "<|open|>call ", "<|open|>argument ", "<|open|>json "
_CALL_END, _ARGUMENT_END = "<|close|>call<|sep|>", "<|close|>argument<|sep|>"
_JSON_END = "<|close|>json<|sep|>"
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class KimiK3(MarkedFormat):
    """``<|open|>tools<|sep|><|open|>call tool="f"<|sep|><|open|>argument key="p" type="string"
    <|sep|>value<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>``."""

    name = "kimi-k3"
    opens = ("<|open|>tools<|sep|>",)
    closes = ("<|close|>tools<|sep|>",)
    silent = ("<|close|>message<|sep|>", "<|end_of_msg|>")
    marks = (_CALL, _ARGUMENT, _JSON, _CALL_END, _ARGUMENT_END, _JSON_END, _SEPARATOR)
    spellings = (
        CallSpelling(
            before_name='<|open|>call tool="',
            before_arguments=('" index="', Pattern("[0-9]{1,2}"), '"<|sep|>'),
            members=Members(
                key='<|open|>argument key="',
                text=Value('" type="string"<|sep|>', _ARGUMENT_END),
                json=Value(
                    ('" type="', Pattern("number|boolean|object|array|null"), '"<|sep|>'),
                    _ARGUMENT_END,
                ),
                tells=True,
            ),
            end=_CALL_END,
            opens="<|open|>tools<|sep|>",
            closes="<|close|>tools<|sep|>",
        ),
    )
    own_thinking = Pair("<|open|>think<|sep|>", "<|close|>think<|sep|>")
    own_speaking = Pair("<|open|>response<|sep|>", "<|close|>response<|sep|>")

    @classmethod
    def fits(cls, template: str) -> bool:
        return "<|open|>" in template and "<|close|>" in template and _SEPARATOR in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        if not (yield from scanner.at_mark(_CALL)):
            raise NotACallError
        yield from scanner.each(_CALL, lambda: self._call(scanner, writer))
        yield from scanner.at_mark(self.closes[0])

    def _call(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        attributes = yield from _attributes(scanner)
        if not (name := attributes.get("tool")):
            raise NotACallError
        writer.begin(name)
        if (yield from scanner.at_mark(_JSON)):
            yield from scanner.until(_SEPARATOR, sink=lambda tag: None)
            yield from json_value(scanner, writer.arguments)
            yield from scanner.at_mark(_JSON_END)
            yield from scanner.at_mark(_CALL_END)
            return
        while (yield from scanner.at_mark(_ARGUMENT, _CALL_END)) == _ARGUMENT:
            attributes = yield from _attributes(scanner)
            value, mark = yield from scanner.text_until(_ARGUMENT_END)
            if not mark:
                return
            key, kind = attributes.get("key", ""), attributes.get("type")
            writer.parameter(key, value, is_text=kind == "string" if kind else None)
        if not scanner.is_read:
            writer.end_members()


def _attributes(scanner: Scanner) -> Reading[dict[str, str]]:
    """The attributes of a tag, up to its end."""
    text, _ = yield from scanner.name(_SEPARATOR, has_spaces=True)
    return {key: html.unescape(value) for key, value in _ATTRIBUTE.findall(text)}
