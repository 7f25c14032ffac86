"""JSON values in text that comes bit by bit, passed on as they are written."""

from __future__ import annotations

import json
import re

from unisono.text.parsers.scanner import NotACallError, Reading, Scanner, Sink

_JSON = re.compile('[]\\["{}\ud800-\udfff]')
_SURROGATE = re.compile("[\ud800-\udfff]")
_STRING = re.compile('["\\\\]')
_SCALAR_END = re.compile("[],:}\\s\ud800-\udfff]")


def json_value(scanner: Scanner, sink: Sink) -> Reading[bool]:
    """Reads one JSON value as it is written; False where that breaks off, also at a mark."""
    first = yield from scanner.peek()
    if first == '"':
        sink(scanner.take(1))
        return (yield from _string(scanner, sink))
    if first not in ("{", "["):
        return (yield from _scalar(scanner, sink))
    depth = 0
    while True:
        letter = scanner.next_of(_JSON, sink)
        if not letter:
            if scanner.is_whole:
                return False
            yield
            continue
        if letter not in '[]{}"':  # a mark: the model has left the value
            return False
        sink(scanner.take(1))
        if letter == '"':
            if not (yield from _string(scanner, sink)):
                return False
        else:
            depth += 1 if letter in "{[" else -1
        if depth == 0:
            return True


def json_text(scanner: Scanner) -> Reading[str]:
    """One JSON value as it is written.

    Raises:
        NotACallError: the text ends inside it.
    """
    pieces: list[str] = []
    if not (yield from json_value(scanner, pieces.append)):
        raise NotACallError
    return "".join(pieces)


def json_string(scanner: Scanner) -> Reading[str]:
    """The text that a JSON string says.

    Raises:
        NotACallError: no string follows.
    """
    if (yield from scanner.peek()) != '"':
        raise NotACallError
    try:
        value = json.loads((yield from json_text(scanner)), strict=False)
    except ValueError as error:
        raise NotACallError from error
    assert isinstance(value, str)
    return _SURROGATE.sub("\ufffd", value)


def _string(scanner: Scanner, sink: Sink) -> Reading[bool]:
    """The rest of a string, behind its first quote."""
    while True:
        letter = scanner.next_of(_STRING, sink)
        if letter == '"':
            sink(scanner.take(1))
            return True
        if letter:
            sink(scanner.take(1))
            while not (escaped := scanner.take(1)):
                if scanner.is_whole:
                    return False
                yield
            sink(escaped)
        elif scanner.is_whole:
            return False
        else:
            yield


def _scalar(scanner: Scanner, sink: Sink) -> Reading[bool]:
    while True:
        if scanner.next_of(_SCALAR_END, sink):
            return True
        if scanner.is_whole:
            return False
        yield
