"""Reads the wire format of protocol buffers: just what the file of a tokenizer is written in.

https://protobuf.dev/programming-guides/encoding/. Knows no message; who reads one knows its field
numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["WireError", "as_float", "as_int32", "read_fields"]

Value = int | bytes
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NUM_FIXED = {_FIXED64: 8, _FIXED32: 4}


class WireError(ValueError):
    """The bytes are no message."""


def read_fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """The fields in their order: number, and an integer (varint) or the raw bytes of the value.

    Raises:
        WireError: the message is cut off or holds what no message does.
    """
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(message, at)
        elif kind in _NUM_FIXED:
            size = _NUM_FIXED[kind]
        else:
            raise WireError(f"a field of unknown kind {kind}")
        if size > len(message) - at:
            raise WireError("it ends inside a field")
        yield tag >> 3, message[at : at + size]
        at += size


def as_float(value: Value) -> float:
    """The ``float`` of a field of 4 bytes."""
    if not isinstance(value, bytes) or len(value) != 4:
        raise WireError("a field that should be a number is none")
    return float(struct.unpack("<f", value)[0])


def as_int32(value: Value) -> int:
    """The ``int32`` (or ``bool``, or ``enum``) of a varint, which may be negative."""
    if not isinstance(value, int):
        raise WireError("a field that should be a number is none")
    return value - (1 << 64) if value >> 63 else value


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at ``at``, and where it ends."""
    value = 0
    for index, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise WireError("it ends inside a number, or a number is too long")
