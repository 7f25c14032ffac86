"""``unisono embed``: lines in, vectors out, in both forms, and what is wrong with a file."""

from __future__ import annotations

import io
import json
import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono.cli import embed as verb


class FakeLLM:
    """A vector says the length of its text, and how it was asked for."""

    asked: list[dict[str, Any]]

    def __init__(self, model: str | None, config: Any, **options: Any) -> None:
        assert options["task"] == "embed"
        FakeLLM.asked = []

    def embed(self, texts: list[str], **options: Any) -> list[array[float]]:
        FakeLLM.asked.append(options)
        return [array("f", [len(text), 0.1]) for text in texts]


@pytest.fixture(autouse=True)
def _fake(fake_llm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["unisono.llm"], "LLM", FakeLLM)
    monkeypatch.setattr(verb, "_AT_ONCE", 2)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("a\r\nbb\n你好吗\n", encoding="utf-8")
    return path


def vectors(out: str) -> list[list[float]]:
    entries = [json.loads(line) for line in out.splitlines()]
    assert [entry["index"] for entry in entries] == list(range(len(entries)))
    return [entry["embedding"] for entry in entries]


def test_lines_become_json_lines(program: Any, texts: Path) -> None:
    done = program("embed", "my-model", str(texts), "--dimensions", "5", "--truncate", "7")
    assert done.code == 0, done.err
    assert vectors(done.out) == [[n, pytest.approx(0.1)] for n in (1, 2, 3)]
    assert len(FakeLLM.asked) == 2
    assert FakeLLM.asked[0]["dimensions"] == 5
    assert FakeLLM.asked[0]["cut"].most == 7


@pytest.mark.parametrize("name", ["v.npy", "v.jsonl"])
def test_a_file_of_either_form(program: Any, texts: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    assert program("embed", "my-model", str(texts), "--out", str(out)).code == 0
    found = np.load(out) if name == "v.npy" else np.array(vectors(out.read_text()), "f")
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx(np.array([[1, 0.1], [2, 0.1], [3, 0.1]], "f"))


def test_a_file_alone_and_standard_input(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('"a"\n{"text": "b\\nc", "id": 7}\n')
    assert [vector[0] for vector in vectors(program("embed", str(path)).out)] == [1, 3]
    for words in (["-"], ["my/model", "-"], ["my/model"]):
        piped = io.TextIOWrapper(io.BytesIO(b"one\ntwo"))
        monkeypatch.setattr(sys, "stdin", piped)
        assert [vector[0] for vector in vectors(program("embed", *words).out)] == [3, 3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"a\n\nb\n", "Line 2 of"),
        (b"\xff\xfe", "not UTF-8"),
        (None, "No such file"),
    ],
)
def test_what_is_wrong_with_a_file(
    program: Any, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)
    done = program("embed", "my-model", str(path))
    assert (done.code, done.out) == (2, "")
    assert reason in done.err


def test_an_output_that_cannot_be(program: Any, texts: Path, tmp_path: Path) -> None:
    for name, reason in (("v.csv", "neither in .jsonl nor"), ("none/v.npy", "cannot be written")):
        done = program("embed", "my-model", str(texts), "--out", str(tmp_path / name))
        assert done.code == 2
        assert reason in done.err


def test_json_lines_that_are_no_texts(program: Any, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    for line in ("5", '{"body": "x"}', "{", '""'):
        path.write_text(f'"a"\n{line}\n')
        assert "Line 2 of" in program("embed", str(path)).err
