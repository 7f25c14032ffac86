"""MiniMax M3: nested elements, each behind a token that no text has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unisono.text.parsers.answer_format import Pair
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling, Key, Members, Value
from unisono.text.parsers.values import property_schema, schema_types, value_as_json

_TOKEN = "]<]minimax[>["
_INVOKE, _CALL_END = f'{_TOKEN}<invoke name="', f"{_TOKEN}</tool_call>"
_MAX_DEPTH = 64
_VALUE = Value(">", (f"{_TOKEN}</", Key(), ">"), _TOKEN)


@dataclass
class _Element:
    name: str
    schema: Any
    text: str = ""
    children: list[tuple[str, str]] = field(default_factory=list)
    """Name and JSON of each."""

    def as_json(self) -> str:
        types = schema_types(self.schema)
        is_list = all(name == "item" for name, _ in self.children) and "object" not in types
        if self.children and is_list:
            return f"[{', '.join(value for _, value in self.children)}]"
        if self.children:
            members = (f"{json.dumps(name)}: {value}" for name, value in self.children)
            return f"{{{', '.join(members)}}}"
        if not self.text.strip() and types in ({"object"}, {"array"}):
            return "{}" if types == {"object"} else "[]"
        return value_as_json(self.text, types)

    def schema_of(self, name: str) -> Any:
        if name == "item" and isinstance(self.schema, Mapping) and "items" in self.schema:
            return self.schema["items"]
        return property_schema(self.schema, name)


@dataclass(frozen=True)
class MiniMaxM3(MarkedFormat):
    """``<tool_call><invoke name="f"><p>value</p><q><item>1</item></q></invoke></tool_call>``, with
    the token before each tag."""

    name = "minimax-m3"
    opens = (f"{_TOKEN}<tool_call>",)
    closes = (_CALL_END,)
    marks = (_TOKEN,)
    spellings = (
        CallSpelling(
            before_name=_INVOKE,
            before_arguments='">',
            members=Members(key=f"{_TOKEN}<", json=_VALUE, text=_VALUE),
            end=f"{_TOKEN}</invoke>\n",
            opens=f"{_TOKEN}<tool_call>\n",
            closes=_CALL_END,
        ),
    )
    own_thinking = Pair("<mm:think>", "</mm:think>")

    @classmethod
    def fits(cls, template: str) -> bool:
        return _TOKEN in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        if not (yield from scanner.at_mark(_INVOKE)):
            raise NotACallError
        yield from scanner.each(_INVOKE, lambda: self._call(scanner, writer))
        yield from scanner.at_mark(_CALL_END)

    def _call(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        name, _ = yield from scanner.name('">')
        writer.begin(name)
        inside = [_Element("invoke", writer.schema)]
        while inside:
            before, mark = yield from scanner.text_until(_TOKEN)
            tag, end = yield from scanner.text_until(">")
            if not mark or not end:
                return
            inside[-1].text += scanner.marks.spell(before)
            name = tag.strip().removeprefix("</").removeprefix("<")
            if not tag.strip().startswith("</"):
                inside.append(_Element(name, inside[-1].schema_of(name)))
                if len(inside) > _MAX_DEPTH:
                    return
                continue
            while inside and inside[-1].name != name and len(inside) > 1:
                inside.pop()
            element = inside.pop()
            if len(inside) == 1:
                writer.member(element.name, element.as_json())
            elif inside:
                inside[-1].children.append((element.name, element.as_json()))
        writer.end_members()
