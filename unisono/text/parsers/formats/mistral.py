"""Mistral: a list of JSON objects, or since 2025 name and arguments apart."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from string import ascii_letters, digits

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_call import read_calls
from unisono.text.parsers.json_scanning import json_value
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import SPACE, CallSpelling, json_calls

_ID_LENGTH = 9


@dataclass(frozen=True)
class Mistral(MarkedFormat):
    """``[TOOL_CALLS]f[ARGS]{...}`` for each call, also without ``[ARGS]``, or
    ``[TOOL_CALLS][{"name": ...}, ...]``."""

    name = "mistral"
    opens = ("[TOOL_CALLS]",)
    marks = ("[ARGS]", "[CALL_ID]")
    spellings = (
        CallSpelling(before_name="[TOOL_CALLS]", before_arguments="[ARGS]", sign="[ARGS]"),
        json_calls(("[TOOL_CALLS]", SPACE, "["), "]"),
    )

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        if (yield from scanner.peek()) in ("[", "{"):
            yield from read_calls(scanner, writer)
            return
        name, mark = yield from scanner.name("[CALL_ID]", "[ARGS]", "{")
        given = ""
        if mark == "{":
            scanner.put_back(mark)
        if mark == "[CALL_ID]":
            given, mark = yield from scanner.name("[ARGS]")
        writer.begin(name, given)
        yield from json_value(scanner, writer.arguments)

    def new_id(self, name: str, index: int) -> str:
        """Its chat templates take ids of exactly this form."""
        return "".join(secrets.choice(ascii_letters + digits) for _ in range(_ID_LENGTH))
