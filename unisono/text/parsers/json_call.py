"""Calls that are JSON objects: ``{"name": ..., "arguments": {...}}`` and what is close to it."""

from __future__ import annotations

import json

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner

_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters")


def read_calls(scanner: Scanner, writer: CallWriter) -> Reading[None]:
    """One object, several in a list, or several one behind another, with or without something
    between them.

    Raises:
        NotACallError: something else stands there.
    """
    first = yield from scanner.peek()
    is_list = first == "["
    if is_list:
        yield from scanner.expect("[")
    while True:
        letter = yield from scanner.peek()
        if letter == "{":
            yield from read_call(scanner, writer)
        elif letter in (",", ";") and letter:
            yield from scanner.expect(letter)
        elif letter == "]" and is_list:
            yield from scanner.expect("]")
            return
        elif is_list or writer.count == 0:
            raise NotACallError
        else:
            return


def read_call(scanner: Scanner, writer: CallWriter) -> Reading[None]:
    """One object. Its keys may come in any order; arguments that come before the name wait.

    Raises:
        NotACallError: it is no call.
    """
    yield from scanner.expect("{")
    name, held, has_arguments = "", "", False
    while True:
        letter = yield from scanner.peek()
        if letter in ("}", ","):
            yield from scanner.expect(letter)
            if letter == "}":
                break
            continue
        key = yield from scanner.json_string()
        yield from scanner.expect(":")
        value = yield from scanner.peek()
        if key == "function" and value == "{":
            yield from read_call(scanner, writer)
            name = name or key
            has_arguments = True
        elif (key in _NAMES or key == "function") and not name:
            name = yield from scanner.json_string()
            writer.begin(name)
            writer.arguments(held)
        elif key in _ARGUMENTS and not has_arguments:
            has_arguments = True
            if name and value == "{":
                yield from scanner.json_value(writer.arguments)
            else:
                held = _as_object((yield from scanner.json_text()))
                if name:
                    writer.arguments(held)
        elif key in writer.tools and value == "{" and not name:
            name, has_arguments = key, True
            writer.begin(name)
            yield from scanner.json_value(writer.arguments)
        else:
            yield from scanner.json_text()
    if not name:
        raise NotACallError
    if not has_arguments:
        writer.arguments("{}")


def _as_object(text: str) -> str:
    """Arguments of another form: JSON in a string is that JSON, null no arguments."""
    value = json.loads(text) if text[:1] == '"' else None
    if isinstance(value, str) and value.strip().startswith("{"):
        return value
    return "{}" if text == "null" or value == "" else text
