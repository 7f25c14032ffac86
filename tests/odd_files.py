"""JSON files with an odd value in the place of a good one, and contents that are no JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TAKEN_OUT = "taken out"
_ODD_VALUES: tuple[str, ...] = (
    *("null", "true", "false", "0", "-1", "1", "7", "-0.0", "0.5", "1e308", "1e999", "-1e999"),
    *("NaN", "Infinity", "2147483648", "9223372036854775808", "-9223372036854775809"),
    *("1" + "0" * 400, '""', '"x"', '"7"', '"\\ud800"', '"\\u0000"', '"\\uffff\\u202e"', '"' * 2),
    *('"' + "x" * 70_000 + '"', "[]", "{}", "[[]]", "[{}]", "[null]", "[0]", '["x"]', '["x", "x"]'),
    *('{"": ""}', '{"x": 1}', '{"type": "x"}', '{"content": 7}', '{"content": "x"}', '{"id": "7"}'),
    *("[" * 3000 + "]" * 3000, "[" + "0," * 5000 + "0]", _TAKEN_OUT, "{"),
)
"""JSON texts that no Python value is written as."""

ODD_FILES: tuple[bytes, ...] = (
    *(b"", b" ", b"\0", b"\xff\xfe", b"null", b"[]", b"{}", b"7", b'"x"', b"NaN", b"[" * 100_000),
    *(b'{"a":' * 100_000, b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"<html>", b"\x80\x04."),
    *(b"version https://git-lfs.github.com/spec/v1\n", b'{"a": 1, "a": {}}', b"{" + b" " * 10**6),
)
"""Whole contents."""


@dataclass(frozen=True, slots=True)
class Odd:
    """A file's content, and what of it was changed."""

    content: bytes
    path: tuple[str | int, ...]
    value: str

    def __str__(self) -> str:
        return f"{'/'.join(map(str, self.path)) or 'all'} = {self.value[:60]}"


def odd_versions(value: Any, count: int, generator: random.Random) -> list[Odd]:
    """``count`` of all versions of a JSON value in which one value is an odd one; all of them where
    there are fewer."""
    places = [(path, odd) for path in _paths(value, generator) for odd in _ODD_VALUES]
    chosen = generator.sample(places, min(count, len(places)))
    return [Odd(_replaced(value, path, odd), path, odd) for path, odd in chosen]


def _paths(value: Any, generator: random.Random) -> Iterator[tuple[str | int, ...]]:
    """To every value; of many alike, to some."""
    yield ()
    children: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    many = len(children) > 60 or isinstance(value, list)
    for key, child in generator.sample(children, min(4, len(children))) if many else children:
        for path in _paths(child, generator):
            yield (key, *path)


def _replaced(value: Any, path: tuple[str | int, ...], odd: str) -> bytes:
    mark = "\ue000"
    text = json.dumps(_put(value, path, None if odd == _TAKEN_OUT else mark, odd == _TAKEN_OUT))
    return text.replace(json.dumps(mark), odd).encode()


def _put(value: Any, path: tuple[str | int, ...], new: Any, leave_out: bool) -> Any:
    if not path:
        return new
    key, rest = path[0], path[1:]
    keys = range(len(value)) if isinstance(value, list) else list(value)
    kept = [at for at in keys if not (leave_out and at == key and not rest)]
    items = [(at, _put(value[at], rest, new, leave_out) if at == key else value[at]) for at in kept]
    return [item for _, item in items] if isinstance(value, list) else dict(items)
