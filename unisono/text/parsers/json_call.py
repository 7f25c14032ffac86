"""Calls that are JSON objects: ``{"name": ..., "arguments": {...}}`` and what is close to it."""

from __future__ import annotations

import json

from unisono.text.parsers.call_list import read_list
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_scanning import json_string, json_text, json_value
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner

_NAMES = ("name", "tool_name", "function")
_ARGUMENTS = ("arguments", "parameters")
_KEYS = (*_NAMES, *_ARGUMENTS, "type", "id", "tool_call_id")


def read_calls(scanner: Scanner, writer: CallWriter, *, is_bare: bool = False) -> Reading[None]:
    """One object, several in a list, or several one behind another, with or without something
    between them.

    Args:
        is_bare: no mark announces them, so that they are calls only if they name a tool.

    Raises:
        NotACallError: something else stands there.
    """
    yield from read_list(
        scanner,
        writer,
        "{".__eq__,
        lambda: _Call(scanner, writer, is_bare).read(),
        may_be_empty=not is_bare,
    )


class _Call:
    """One object. Its keys may come in any order; arguments that come before the name wait."""

    def __init__(self, scanner: Scanner, writer: CallWriter, is_bare: bool) -> None:
        self._scanner = scanner
        self._writer = writer
        self._is_bare = is_bare
        self._has_name = False
        self._held: str | None = None
        """Arguments without a name."""
        self._has_arguments = False

    def read(self, *, is_inner: bool = False) -> Reading[None]:
        scanner = self._scanner
        yield from scanner.expect("{")
        while True:
            letter = yield from scanner.peek()
            if letter == "}":
                scanner.take(1)
                break
            if letter == ",":
                scanner.take(1)
                continue
            key = yield from json_string(scanner)
            yield from scanner.expect(":")
            yield from self._member(key, (yield from scanner.peek()), is_inner)
        if not is_inner:
            self._end()

    def _member(self, key: str, first: str, is_inner: bool) -> Reading[None]:
        """``{"function": {...}}`` is a call in a call, ``{"f": {...}}`` has a tool for a key."""
        if key == "function" and first == "{" and not is_inner:
            yield from self.read(is_inner=True)
        elif key in _NAMES and not self._has_name:
            self._begin((yield from json_string(self._scanner)))
        elif key in _ARGUMENTS and not self._has_arguments and self._held is None:
            yield from self._arguments(first)
        elif key in self._writer.tools and first == "{" and not self._has_name:
            self._begin(key)
            yield from self._arguments(first)
        elif self._is_bare and key not in _KEYS:
            raise NotACallError
        else:
            yield from json_text(self._scanner)

    def _begin(self, name: str) -> None:
        if not name or (self._is_bare and name not in self._writer.tools):
            raise NotACallError
        self._has_name = True
        self._writer.begin(name)
        if self._held is not None:
            self._writer.arguments(self._held)
            self._has_arguments = True

    def _arguments(self, first: str) -> Reading[None]:
        if self._has_name and first == "{":
            self._has_arguments = True
            yield from json_value(self._scanner, self._writer.arguments)
            return
        self._held = _as_object((yield from json_text(self._scanner)))
        if self._has_name:
            self._has_arguments = True
            self._writer.arguments(self._held)

    def _end(self) -> None:
        if not self._has_name:
            raise NotACallError
        if not self._has_arguments:
            self._writer.arguments("{}")


def _as_object(text: str) -> str:
    """Arguments of another form: JSON in a string is that JSON, null no arguments."""
    if text[:1] == '"':
        try:
            value = str(json.loads(text, strict=False))
        except ValueError:
            return text
        if value.strip().startswith("{"):
            return value
        return "{}" if not value.strip() else text
    return "{}" if text in ("null", "") else text
