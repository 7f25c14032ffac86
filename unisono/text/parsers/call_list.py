"""Calls one behind another, or in a list; how each is written is its reader's affair."""

from __future__ import annotations

from collections.abc import Callable

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner


def read_list(
    scanner: Scanner,
    writer: CallWriter,
    begins: Callable[[str], bool],
    read: Callable[[], Reading[None]],
    *,
    may_be_empty: bool,
) -> Reading[None]:
    """Reads calls, with or without something between them.

    Args:
        begins: true for the letter that a call begins with.
        read: reads one call.
        may_be_empty: a list without calls is taken, too.

    Raises:
        NotACallError: something else stands there.
    """
    before = writer.count
    is_list = (yield from scanner.peek()) == "["
    if is_list:
        scanner.take(1)
    while True:
        letter = yield from scanner.peek()
        if begins(letter):
            yield from read()
        elif letter in (",", ";") and writer.count > before:
            scanner.take(1)
        elif letter == "]" and is_list and (may_be_empty or writer.count > before):
            scanner.take(1)
            return
        elif is_list or writer.count == before:
            raise NotACallError
        else:
            return
