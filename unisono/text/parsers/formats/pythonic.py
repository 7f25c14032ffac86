"""Calls as in Python: Llama 4, LFM2, OLMo 3; and Llama 3, which writes JSON in the same places."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.answer_format import CallSpelling
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.python_call import read_any_calls
from unisono.text.parsers.scanner import Reading, Scanner


@dataclass(frozen=True)
class Lfm2(MarkedFormat):
    """``<|tool_call_start|>[f(a=1), g(b='x')]<|tool_call_end|>``."""

    name = "lfm2"
    opens = ("<|tool_call_start|>",)
    closes = ("<|tool_call_end|>",)

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

    @classmethod
    def fits(cls, template: str) -> bool:
        return "<function_calls>" in template


class Llama(MarkedFormat):
    """``{"name": "f", "parameters": {...}}`` or ``[f(a=1)]``, as a whole answer or marked."""

    name = "llama"
    opens = ("<|python_tag|>", "<|python_start|>")
    closes = ("<|python_end|>", "<|eom_id|>")
    spelling = CallSpelling('{"name": "', '", "parameters": ', "}", between="; ")
    bare = "{["

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
