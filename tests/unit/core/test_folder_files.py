"""Small files of a model folder: whatever is in their place, content or ``CheckpointError``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from unisono.core.errors import CheckpointError
from unisono.core.folder_files import parse_json, read_bytes, read_json_object, read_text

LIMIT = 1000


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    assert read_bytes(path, LIMIT) is None
    assert read_text(path, LIMIT) is None
    assert read_json_object(path, LIMIT) == {}


@pytest.mark.parametrize("content", [b'{"a": 1}', b'\xef\xbb\xbf{"a": 1}', b'{"a": 2, "a": 1}'])
def test_objects(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert read_json_object(path, LIMIT) == {"a": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\x00",
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"[" * 400,
        b'{"a": ' + b"9" * 900 + b"e",
        b'{"a": "\\ud800"}',
        b'{"\\uDFFF": 1}',
        b'{"a": ["\\ud83d", "\\ude00"]}',
        b" " * (LIMIT + 1),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_object(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_json_object(path, LIMIT)


@pytest.mark.parametrize(
    "place",
    [
        Path.mkdir,
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("nothing"),
        lambda path: path.symlink_to(path),
    ],
    ids=["folder", "pipe", "device", "link to nothing", "link to itself"],
)
def test_what_is_no_file(tmp_path: Path, place: Callable[[Path], None]) -> None:
    path = tmp_path / "config.json"
    place(path)
    for read in (read_bytes, read_text, read_json_object):
        with pytest.raises(CheckpointError, match=r"config\.json"):
            read(path, LIMIT)


def test_whole_pairs_are_text() -> None:
    assert parse_json(b'"\\ud83d\\ude00 \\\\ud800"') == "\U0001f600 \\ud800"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 100_000, '"\\ud800"'])
def test_json_fails_in_one_way(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested|digits|pair|Expecting"):
        parse_json(text)
