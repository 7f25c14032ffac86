"""Mistral: a list of JSON objects, or since 2025 name and arguments apart."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from string import ascii_letters, digits

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_call import read_calls
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner

_ID_LENGTH = 9


@dataclass(frozen=True)
class Mistral(AnswerFormat):
    """``[TOOL_CALLS]f[ARGS]{...}`` for each call, or ``[TOOL_CALLS][{"name": ...}, ...]``."""

    name = "mistral"
    opens = ("[TOOL_CALLS]",)
    marks = ("[ARGS]", "[CALL_ID]")

    @classmethod
    def fits(cls, template: str) -> bool:
        return "[TOOL_CALLS]" in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        if (yield from scanner.peek()) in ("[", "{"):
            yield from read_calls(scanner, writer)
            return
        name, mark = yield from scanner.text_until("[CALL_ID]", "[ARGS]", "[TOOL_CALLS]")
        given = ""
        if mark == "[CALL_ID]":
            given, mark = yield from scanner.text_until("[ARGS]", "[TOOL_CALLS]")
        if mark != "[ARGS]":
            raise NotACallError
        writer.begin(name.strip(), given.strip())
        yield from scanner.json_value(writer.arguments)

    def new_id(self, name: str, index: int) -> str:
        """Its chat templates take ids of exactly this form."""
        return "".join(secrets.choice(ascii_letters + digits) for _ in range(_ID_LENGTH))
