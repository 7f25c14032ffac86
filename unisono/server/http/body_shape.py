"""Counts what a JSON body is made of while it arrives, before any value is made of it.

Knows bytes. Every count is a pass of a byte operation over one piece, so a body of any shape costs
a few nanoseconds a byte and no memory to speak of; one that passes has few enough values to parse.
"""

from __future__ import annotations

import re

from unisono.server.api_error import bad_request

PIECE_BYTES = 64 * 2**10
"""Counting a piece of this size takes at most a few milliseconds."""
_NOT_MARKS = bytes(set(range(256)) - set(b"[]{},"))
_BRACES_TO_BRACKETS = bytes.maketrans(b"{}", b"[]")
_MAX_STRINGS = 1 << 16
_MAX_OBJECTS = 1 << 16
_MAX_VALUES = 1 << 18


class BodyShape:
    """Args:
    max_depth: levels of arrays and objects.
    context: most tokens of a prompt, and so most items of a list of numbers.
    """

    def __init__(self, max_depth: int, context: int) -> None:
        self._max_depth = max_depth
        self._context = context
        self._max_values = max(_MAX_VALUES, 2 * context)
        self._long_list = re.compile(rb"\[,{%d,}" % context)
        self._num_quotes = self._num_objects = self._num_commas = 0
        self._brackets = bytearray()
        self._escapes = False
        """The piece before ended in a backslash that concerns the first byte of the next."""
        self._in_string = False
        self._in_list = False
        """The last bracket opened a list."""
        self._num_commas_here = 0
        """Commas since the last bracket."""
        self._most_commas = 0
        """Commas of the longest list without a bracket in it."""

    @property
    def is_refused(self) -> bool:
        """No more of the body is needed: ``check`` refuses it, whatever follows."""
        return (
            self._num_quotes // 2 > _MAX_STRINGS
            or self._num_objects > _MAX_OBJECTS
            or self._num_commas > self._max_values
        )

    def feed(self, piece: bytes) -> None:
        """Counts the next bytes of the body."""
        outside = self._outside(piece)
        marks = outside.translate(None, _NOT_MARKS)
        if marks:
            self._num_objects += marks.count(b"[") + marks.count(b"{")
            self._num_commas += marks.count(b",")
            if len(self._brackets) <= 2 * _MAX_OBJECTS:
                self._brackets += marks.translate(_BRACES_TO_BRACKETS, b",")
            self._follow_lists(marks)

    def feed_all(self, body: bytes | bytearray) -> None:
        """The same for many bytes at once."""
        for start in range(0, len(body), PIECE_BYTES):
            self.feed(bytes(body[start : start + PIECE_BYTES]))

    def begin_text(self) -> None:
        """Begins another JSON text; its values count beside those before."""
        self._escapes = self._in_string = self._in_list = False

    def check(self) -> None:
        """Raises:
        ApiError: too many values, nested too deep, or a list longer than any prompt may be.
        """
        _check_count("strings", self._num_quotes // 2, _MAX_STRINGS)
        _check_count("lists and objects", self._num_objects, _MAX_OBJECTS)
        self._check_depth()
        self._check_lists()
        _check_count("values", self._num_commas, self._max_values)

    def _outside(self, piece: bytes) -> bytes:
        """The bytes of a piece outside strings; none once there are too many of them."""
        if self._escapes:
            piece = b"\\" + piece
        plain = piece.replace(b"\\\\", b"")
        self._escapes = plain.endswith(b"\\")
        plain = plain.replace(b'\\"', b"")
        num_quotes = plain.count(b'"')
        self._num_quotes += num_quotes
        if self._num_quotes // 2 > _MAX_STRINGS:
            return b""
        begins_inside = self._in_string
        self._in_string ^= num_quotes % 2 == 1
        if not num_quotes:
            return b"" if begins_inside else plain
        return b"".join(plain.split(b'"')[begins_inside::2])

    def _follow_lists(self, marks: bytes) -> None:
        """A list of numbers has no bracket in it, and a comma between two."""
        rest = marks.lstrip(b",")
        self._count_items(len(marks) - len(rest))
        if not rest:
            return
        if len(rest) > self._context:
            for found in self._long_list.finditer(rest):
                self._most_commas = max(self._most_commas, len(found[0]) - 1)
        upto_last = rest.rstrip(b",")
        self._in_list, self._num_commas_here = upto_last.endswith(b"["), 0
        self._count_items(len(rest) - len(upto_last))

    def _count_items(self, num_commas: int) -> None:
        self._num_commas_here += num_commas
        if self._in_list:
            self._most_commas = max(self._most_commas, self._num_commas_here)

    def _check_depth(self) -> None:
        """Takes away one level of brackets after another."""
        brackets = bytes(self._brackets)
        for _ in range(self._max_depth):
            shorter = brackets.replace(b"[]", b"")
            if len(shorter) == len(brackets):
                break  # none left, or unbalanced: the parser says where
            brackets = shorter
        if b"[]" in brackets or brackets.count(b"[") > self._max_depth:
            message = f"The body is nested deeper than {self._max_depth} levels."
            raise bad_request(message, code="invalid_json")

    def _check_lists(self) -> None:
        num_items = self._most_commas + 1
        if num_items > self._context:
            raise bad_request(
                f"This model's maximum context length is {self._context} tokens; a list in the "
                f"body has {num_items} items.",
                code="context_length_exceeded",
            )


def _check_count(what: str, count: int, most: int) -> None:
    if count > most:
        raise bad_request(
            f"The body has {count} {what}; at most {most} are read. Send less in one request."
        )
