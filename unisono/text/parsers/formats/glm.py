"""GLM 4.5 and later, and models that write as they do: Ling, Spark, Laguna."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner
from unisono.text.parsers.spelling import SPACE, CallSpelling, Members, Value


def _value(suffix: str) -> Value:
    return Value(
        (f"</arg_key{suffix}>", SPACE, f"<arg_value{suffix}>"), (f"</arg_value{suffix}>", SPACE)
    )


def keyed_calls(suffix: str = "", separator: str = "") -> CallSpelling:
    """Args:
    suffix: in each mark.
    separator: a mark behind the name.
    """
    return CallSpelling(
        before_name=f"<tool_call{suffix}>",
        before_arguments=(separator, SPACE),
        members=Members(key=f"<arg_key{suffix}>", json=_value(suffix), text=_value(suffix)),
        end=f"</tool_call{suffix}>",
        between=(SPACE,),
    )


@dataclass(frozen=True)
class Glm(MarkedFormat):
    """``<tool_call>f<arg_key>p</arg_key><arg_value>value</arg_value></tool_call>``."""

    name = "glm"
    opens: ClassVar[tuple[str, ...]] = ("<tool_call>",)
    closes: ClassVar[tuple[str, ...]] = ("</tool_call>",)
    marks: ClassVar[tuple[str, ...]] = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
    separator: ClassVar[tuple[str, ...]] = ()
    """A mark behind the name."""
    spellings: ClassVar[tuple[CallSpelling, ...]] = (keyed_calls(),)

    @classmethod
    def fits(cls, template: str) -> bool:
        return "<arg_key>" in template and "<tool_call>" in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        key, key_end, value, value_end = self.marks[:4]
        name, mark = yield from scanner.name(*self.separator, key, self.closes[0])
        if mark == self.closes[0] and not self.separator and name[:1] == "{":
            raise NotACallError
        writer.begin(name)
        if mark in self.separator:
            mark = yield from scanner.at_mark(key, self.closes[0])
        while mark == key:
            found, mark = yield from scanner.text_until(key_end)
            if not mark or not (yield from scanner.at_mark(value)):
                return
            text, mark = yield from scanner.text_until(value_end)
            if not mark:
                return
            writer.parameter(found.strip(), text)
            mark = yield from scanner.at_mark(key, self.closes[0])
        writer.end_members()
