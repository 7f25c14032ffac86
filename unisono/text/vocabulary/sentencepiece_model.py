"""Reads a SentencePiece ``tokenizer.model``: pieces with scores, and how text is prepared.

Field numbers are those of ``sentencepiece_model.proto`` (https://github.com/google/sentencepiece),
the wire format that of protocol buffers (https://protobuf.dev/programming-guides/encoding/). Knows
nothing of other tokenizers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

Value = int | bytes
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NUM_FIXED = {_FIXED64: 8, _FIXED32: 4}


class WireError(ValueError):
    """The bytes are no message."""


class PieceKind(IntEnum):
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    score: float = 0.0
    kind: PieceKind = PieceKind.NORMAL


@dataclass(frozen=True, kw_only=True, slots=True)
class SentencePieceModel:
    """Defaults are the format's. ``algorithm``: 1 unigram, 2 BPE, 3 words, 4 characters."""

    pieces: Sequence[Piece] = ()
    algorithm: int = 1
    byte_fallback: bool = False
    space_is_suffix: bool = False
    unk_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    pad_id: int = -1
    charsmap: bytes = b""
    """The compiled rules that change characters before anything else."""
    adds_prefix: bool = True
    """A text gets a space in front of it."""
    removes_extra_spaces: bool = True
    escapes_spaces: bool = True


_MAX_PIECES = 1 << 21
_TRAINER = {
    3: "algorithm",
    24: "space_is_suffix",
    35: "byte_fallback",
    40: "unk_id",
    41: "bos_id",
    42: "eos_id",
    43: "pad_id",
}
_NORMALIZER = {3: "adds_prefix", 4: "removes_extra_spaces", 5: "escapes_spaces"}
_FLAGS = frozenset({"space_is_suffix", "byte_fallback", *_NORMALIZER.values()})


def read_model(content: bytes) -> SentencePieceModel:
    """Raises:
    WireError: not the file of a SentencePiece model.
    """
    pieces: list[Piece] = []
    values: dict[str, Any] = {}
    for number, value in _read_fields(content):
        if number == 1:
            if len(pieces) == _MAX_PIECES:
                raise WireError(f"it has more than {_MAX_PIECES} pieces")
            pieces.append(_read_piece(_as_bytes(value)))
        elif number == 2:
            values.update(_read_numbers(_as_bytes(value), _TRAINER))
        elif number == 3:
            values.update(_read_normalizer(_as_bytes(value)))
    model = replace(SentencePieceModel(pieces=pieces), **values)
    if len({piece.text for piece in pieces}) != len(pieces) or not 0 <= model.unk_id < len(pieces):
        raise WireError("it has a piece twice, or none for what is unknown")
    return model


def _read_piece(message: bytes) -> Piece:
    text, score, kind = "", 0.0, PieceKind.NORMAL
    for number, value in _read_fields(message):
        if number == 1:
            text = _as_bytes(value).decode("utf-8")
        elif number == 2:
            score = _as_float(value)
        elif number == 3:
            kind = PieceKind(_as_int32(value))
    return Piece(text, score, kind)


def _read_normalizer(message: bytes) -> dict[str, Any]:
    values = _read_numbers(message, _NORMALIZER)
    charsmaps = [value for number, value in _read_fields(message) if number == 2]
    return {**values, "charsmap": _as_bytes(charsmaps[-1])} if charsmaps else values


def _read_numbers(message: bytes, names: dict[int, str]) -> dict[str, Any]:
    found = {
        names[number]: _as_int32(value)
        for number, value in _read_fields(message)
        if number in names
    }
    return {name: bool(value) if name in _FLAGS else value for name, value in found.items()}


def _as_bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise WireError("a field that should be a text is a number")
    return value


def _read_fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message in protocol buffers' wire format, in their order: number, and an
    integer (varint) or the raw bytes of the value.

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


def _as_float(value: Value) -> float:
    """The ``float`` of a field of 4 bytes."""
    if not isinstance(value, bytes) or len(value) != 4:
        raise WireError("a field that should be a number is none")
    return float(struct.unpack("<f", value)[0])


def _as_int32(value: Value) -> int:
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
