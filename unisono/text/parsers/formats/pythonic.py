"""Calls as in Python: Llama 4, LFM2, OLMo 3; and Llama 3, which writes JSON in the same places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.python_call import read_any_calls
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import SPACE, CallSpelling, Members, Spelled, Value, json_calls


def _python(
    opens: Spelled, closes: Spelled, *, between: str = ", ", is_bare: bool = False, sign: str = ""
) -> CallSpelling:
    """Values are written as JSON, which is read as well."""
    return CallSpelling(
        before_name="",
        before_arguments="(",
        members=Members(json=Value("=", ""), between=", "),
        end=")",
        opens=opens,
        between=between,
        closes=closes,
        is_bare=is_bare,
        sign=sign,
    )


@dataclass(frozen=True)
class Lfm2(MarkedFormat):
    """``<|tool_call_start|>[f(a=1), g(b='x')]<|tool_call_end|>``."""

    name = "lfm2"
    opens = ("<|tool_call_start|>",)
    closes = ("<|tool_call_end|>",)
    spellings: ClassVar[tuple[CallSpelling, ...]] = (
        _python("<|tool_call_start|>[", "]<|tool_call_end|>"),
    )

    @classmethod
    def fits(cls, template: str) -> bool:
        marks = ("<|tool_list_start|>", "List of tools: [", *cls.opens)
        return any(mark in template for mark in marks)

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        yield from read_any_calls(scanner, writer)
        yield from scanner.at_mark(*self.closes)


class Olmo3(Lfm2):
    """``<function_calls>``, a call in each line, ``</function_calls>``."""

    name = "olmo3"
    opens = ("<function_calls>",)
    closes = ("</function_calls>",)
    spellings = (_python(("<function_calls>", SPACE), (SPACE, "</function_calls>"), between="\n"),)

    @classmethod
    def fits(cls, template: str) -> bool:
        return "<function_calls>" in template


class Llama(MarkedFormat):
    """``{"name": "f", "parameters": {...}}`` or ``[f(a=1)]``, as a whole answer or marked."""

    name = "llama"
    opens = ("<|python_tag|>", "<|python_start|>")
    closes = ("<|python_end|>", "<|eom_id|>")
    spellings = (
        json_calls(keys=("name", "parameters"), between="; ", is_bare=True),
        _python("[", "]", is_bare=True, sign="[func_name1("),
        json_calls("<|python_tag|>", keys=("name", "parameters"), between="; "),
        _python("<|python_start|>[", "]<|python_end|>", sign="<|python_start|>"),
    )
    bare = "{["
    joins = ";,"

    @classmethod
    def fits(cls, template: str) -> bool:
        asks = '{"name": function name, "parameters": dictionary of argument name and its value}'
        return asks in template or super().fits(template)

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        """Behind a mark there may be Python that is no call of a tool."""
        yield from read_any_calls(scanner, writer, is_bare=True)
        yield from scanner.at_mark("<|python_end|>")

    def bare_calls(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        yield from read_any_calls(scanner, writer, is_bare=True)
