"""Walks over the bytes of a GGUF header. Nothing is believed: every length is held against what is
left of the file, and against what any model needs, before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import NoReturn

from unisono.core.errors import CheckpointError

Scalar = bool | int | float | str

_STRING, _ARRAY = 8, 9
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LENGTH = struct.Struct("<Q")
_MAX_STRING_BYTES = 1 << 24
_MAX_STRINGS = 1 << 22
_MAX_NUMBERS = 1 << 22


@dataclass(frozen=True, slots=True)
class Array:
    """Strings or numbers of one kind, decoded when they are asked for."""

    buffer: mmap
    start: int
    count: int
    code: str
    """Format character of ``struct``; empty for strings."""

    def strings(self) -> list[str]:
        """Raises:
        ValueError: these are numbers, or not UTF-8.
        """
        if self.code:
            raise ValueError("numbers, where texts should be")
        return [raw.decode() for raw in self._raw_strings()]

    def _raw_strings(self) -> Iterator[bytes]:
        at = self.start
        for _ in range(self.count):
            (length,) = _LENGTH.unpack_from(self.buffer, at)
            at += 8 + length
            yield self.buffer[at - length : at]

    def numbers(self) -> list[int | float]:
        """Raises:
        ValueError: these are texts.
        """
        if not self.code:
            raise ValueError("texts, where numbers should be")
        return list(struct.unpack_from(f"<{self.count}{self.code}", self.buffer, self.start))


class Cursor:
    """Reads a mapped file from its beginning.

    Raises:
        CheckpointError: (all methods) the file ends before what it says is there, or says what
            no such file does.
    """

    def __init__(self, buffer: mmap, name: str) -> None:
        self._buffer, self._name = buffer, name
        self._num_strings = 0
        self.at = 0

    def fail(self, what: str) -> NoReturn:
        raise CheckpointError(
            f"{self._name} cannot be read as GGUF: {what}.",
            hint="The file is damaged or incomplete: fetch it again.",
        )

    def _take(self, num_bytes: int) -> int:
        """The place of the next bytes, which are passed."""
        start = self.at
        if num_bytes > len(self._buffer) - start:
            self.fail("it ends within its header")
        self.at = start + num_bytes
        return start

    def number(self, code: str) -> int | float:
        value: int | float
        (value,) = struct.unpack_from(f"<{code}", self._buffer, self._take(struct.calcsize(code)))
        return value

    def integer(self, code: str) -> int:
        return int(self.number(code))

    def raw(self, num_bytes: int) -> bytes:
        start = self._take(num_bytes)
        return self._buffer[start : self.at]

    def string(self, most: int = _MAX_STRING_BYTES) -> str:
        length = self.integer("Q")
        if length > most:
            self.fail(f"a text in its header has {length} bytes")
        try:
            return self.raw(length).decode()
        except UnicodeDecodeError:
            self.fail("a text in its header is not UTF-8")

    def value(self) -> Scalar | Array:
        """A value behind the number of its kind."""
        kind = self.integer("I")
        if kind == _ARRAY:
            return self._array()
        return self.string() if kind == _STRING else self._scalar(kind)

    def _scalar(self, kind: int) -> Scalar:
        if kind == 7:
            return self.integer("B") != 0
        return self.number(self._code(kind))

    def _code(self, kind: int) -> str:
        if kind not in _CODES:
            self.fail(f"a value in its header is of kind {kind}")
        return _CODES[kind]

    def _array(self) -> Array:
        kind, count = self.integer("I"), self.integer("Q")
        if kind == _STRING:
            return self._array_of_strings(count)
        code = self._code(kind)
        if count > _MAX_NUMBERS:
            self.fail(f"a list in its header has {count} entries")
        start = self._take(count * struct.calcsize(code))
        return Array(self._buffer, start, count, code)

    def _array_of_strings(self, count: int) -> Array:
        self._num_strings += count
        if self._num_strings > _MAX_STRINGS:
            self.fail(f"a list in its header has {count} texts")
        buffer, start, end = self._buffer, self.at, len(self._buffer)
        at = start
        for _ in range(count):
            if at + 8 > end:
                self.fail("it ends within its header")
            at += 8 + _LENGTH.unpack_from(buffer, at)[0]
        if at > end:
            self.fail("it ends within its header")
        self.at = at
        return Array(buffer, start, count, "")
