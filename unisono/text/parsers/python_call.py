"""Calls that are written as in Python: ``[f(a=1), g(b='x')]``."""

from __future__ import annotations

from unisono.text.parsers.call_list import read_list
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_call import read_calls
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner

QUOTES = ("'", '"')
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


def read_python_calls(
    scanner: Scanner, writer: CallWriter, *, is_bare: bool = False
) -> Reading[None]:
    """Several in a list, or one behind another, with or without something between them.

    Args:
        is_bare: no mark announces them, so that they are calls only if they name a tool.

    Raises:
        NotACallError: something else stands there.
    """
    yield from read_list(
        scanner,
        writer,
        str.isidentifier,
        lambda: _call(scanner, writer, is_bare),
        may_be_empty=False,
    )


def read_any_calls(scanner: Scanner, writer: CallWriter, *, is_bare: bool = False) -> Reading[None]:
    """Calls as JSON or as Python.

    Raises:
        NotACallError: something else stands there.
    """
    ahead = yield from scanner.peek(2)
    is_json = ahead[:1] == "{" or ahead == "[{"
    yield from (read_calls if is_json else read_python_calls)(scanner, writer, is_bare=is_bare)


def _call(scanner: Scanner, writer: CallWriter, is_bare: bool) -> Reading[None]:
    name, _ = yield from scanner.name("(")
    name = name.removesuffix(".call")
    if is_bare and name not in writer.tools:
        raise NotACallError
    writer.begin(name)
    positions = list(writer.schema.get("properties") or ())
    index = 0
    while True:
        letter = yield from scanner.peek()
        if not letter:
            return
        if letter in ",)":
            scanner.take(1)
            if letter == ")":
                writer.end_members()
                return
            continue
        text, end = yield from literal(scanner, QUOTES, "=,)")
        key = text.strip()
        if end == "=":
            scanner.take(1)
            yield from scanner.peek()
            text, end = yield from literal(scanner, QUOTES, ",)")
        else:
            key = positions[index] if index < len(positions) else str(index)
        if not end:
            return
        index += 1
        writer.literal(key, text)


def literal(scanner: Scanner, quotes: tuple[str, ...], ends: str) -> Reading[tuple[str, str]]:
    """The text of a literal, as it is written, and what follows: one of ``ends``, which is not
    read, or ``""`` where the text ends inside.

    Args:
        quotes: marks around strings, in which nothing else counts. A backslash escapes in those of
            Python.
    """
    pieces: list[str] = []
    closing: list[str] = []
    marks = (*quotes, *"([{)]}", *(end for end in ends if end not in ")]}"))
    while True:
        mark = yield from scanner.until(*marks, sink=pieces.append)
        if not mark:
            return "".join(pieces), ""
        if mark in ends and not closing:
            scanner.put_back(mark)
            return "".join(pieces), mark
        pieces.append(scanner.marks.written(mark))
        if mark in quotes:
            yield from _string(scanner, mark, pieces)
        elif mark in _BRACKETS:
            closing.append(_BRACKETS[mark])
        elif closing and mark == closing[-1]:
            closing.pop()


def _string(scanner: Scanner, quote: str, pieces: list[str]) -> Reading[None]:
    """The rest of a string."""
    marks = (quote, "\\") if quote in QUOTES else (quote,)
    while True:
        mark = yield from scanner.until(*marks, sink=pieces.append)
        pieces.append(scanner.marks.written(mark))
        if mark != "\\":
            return
        while not (letter := scanner.take(1)):
            if scanner.is_whole:
                return
            yield
        pieces.append(letter)
