"""GGUF files with an odd value, of any type of the format, in the place of one of the metadata."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import gguf

from tests.odd_files import Odd


def _text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def _array(kind: int, count: int, items: bytes) -> bytes:
    return struct.pack("<IIQ", 9, kind, count) + items


_ODD_VALUES: dict[str, bytes] = {
    "taken out": b"",
    **{f"uint8 {v}": struct.pack("<IB", 0, v) for v in (0, 1, 255)},
    **{f"int8 {v}": struct.pack("<Ib", 1, v) for v in (-128, -1, 0)},
    **{f"uint16 {v}": struct.pack("<IH", 2, v) for v in (0, 7, 65535)},
    **{f"uint32 {v}": struct.pack("<II", 4, v) for v in (0, 1, 3, 2**31, 2**32 - 1)},
    **{f"int32 {v}": struct.pack("<Ii", 5, v) for v in (-(2**31), -1, 0, 1)},
    **{
        f"float32 {v}": struct.pack("<If", 6, v) for v in (0.0, -0.0, 1.5, 3e38, float("nan"), -1e9)
    },
    **{f"float32 {v}": struct.pack("<If", 6, v) for v in (float("inf"), float("-inf"))},
    **{f"bool {v}": struct.pack("<IB", 7, v) for v in (0, 1, 2)},
    **{
        f"text {v[:9]!r}": struct.pack("<I", 8) + _text(v)
        for v in (b"", b"x", b"7", b"\xff", b"\0", b"a\nb", b"{{", b"x" * 70_000)
    },
    **{f"uint64 {v}": struct.pack("<IQ", 10, v) for v in (0, 2**63, 2**64 - 1)},
    **{f"int64 {v}": struct.pack("<Iq", 11, v) for v in (-(2**63), -1, 2**62)},
    **{f"float64 {v}": struct.pack("<Id", 12, v) for v in (1e308, float("nan"))},
    "no texts": _array(8, 0, b""),
    "no numbers": _array(4, 0, b""),
    "texts": _array(8, 3, _text(b"x") + _text(b"x") + _text(b"\xff")),
    "int32s": _array(5, 2, struct.pack("<ii", -1, 7)),
    "uint32s": _array(4, 600, struct.pack("<I", 2**32 - 1) * 600),
    "float32s": _array(6, 2, struct.pack("<ff", float("nan"), 1e30)),
    "bools": _array(7, 2, b"\x01\x02"),
    "lists": _array(9, 1, struct.pack("<IQ", 4, 0)),
    "more than there is": _array(4, 2**40, b""),
    "a list of an unknown type": _array(99, 1, b"\0"),
    "an unknown type": struct.pack("<I", 99),
}


def odd_gguf_files(path: Path, count: int, generator: random.Random) -> Iterator[Odd]:
    """``count`` of all versions of a file in which one value of its header is an odd one."""
    reader = gguf.GGUFReader(path)
    good = {
        name: b"".join(part.tobytes() for part in field.parts)
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    places = [(name, odd) for name in good for odd in _ODD_VALUES]
    chosen = generator.sample(places, min(count, len(places)))
    whole = path.read_bytes()
    end = 24 + sum(map(len, good.values()))
    num_info_bytes = sum(part.nbytes for one in reader.tensors for part in one.field.parts)
    infos, data = whole[end : end + num_info_bytes], whole[reader.data_offset :]
    for name, odd in chosen:
        pairs = {**good, name: _pair(name, odd)}
        yield Odd(_file(whole[:24], pairs, infos, data), (name,), odd)


def _pair(name: str, odd: str) -> bytes:
    value = _ODD_VALUES[odd]
    return _text(name.encode()) + value if value else b""


def _file(head: bytes, pairs: dict[str, bytes], infos: bytes, data: bytes) -> bytes:
    kept: Sequence[bytes] = [pair for pair in pairs.values() if pair]
    front = head[:16] + struct.pack("<Q", len(kept)) + b"".join(kept) + infos
    return front + b"\0" * (-len(front) % 32) + data
