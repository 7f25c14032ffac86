"""Prompts for the middle, by the marks of each line of models."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from tests.byte_tokenizer import write_byte_tokenizer
from unisono.core.errors import ContextLengthError
from unisono.text import Tokenizer
from unisono.text.infill import Infill

LAYOUTS = {
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>"): "0 a( 1 )z 2",
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>"): "0 a( 1 )z 2",
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"): "0 a( 1 )z 2",
    ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"): "0 a( 1 )z 2",
    ("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"): "1 )z 0 a( 2",
    ("[PREFIX]", "[SUFFIX]"): "1 )z 0 a(",
}


def tokenizer_with(folder: Path, *marks: str) -> Tokenizer:
    write_byte_tokenizer(folder, "")
    path = str(folder / "tokenizer.json")
    backend = Backend.from_file(path)
    backend.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    backend.save(path)
    return Tokenizer.load(folder)


@pytest.mark.parametrize("marks", LAYOUTS)
def test_a_prompt(tmp_path: Path, marks: tuple[str, ...]) -> None:
    tokenizer = tokenizer_with(tmp_path, *marks)
    infill = Infill.of(tokenizer)
    assert infill is not None
    said = tokenizer.decode(infill.prompt("a(", ")z"), skip_special_tokens=False)
    for index, mark in enumerate(marks):
        said = said.replace(mark, f" {index} ")
    assert said.split() == LAYOUTS[marks].split()
    assert {tokenizer.token_id(mark) for mark in marks} <= set(infill.ends)


def test_a_text_behind_the_gap_begins_without_a_space(tmp_path: Path) -> None:
    class Spacing:
        """Puts a space before every text, as SentencePiece does."""

        def __init__(self, inner: Tokenizer) -> None:
            self.token_id = inner.token_id
            self._inner = inner

        def encode(self, text: str, **options: object) -> list[int]:
            return self._inner.encode(" " + text if text else "", **options)  # type: ignore[arg-type]

    inner = tokenizer_with(tmp_path, "▁<PRE>", "▁<SUF>", "▁<MID>")
    infill = Infill.of(Spacing(inner))
    assert infill is not None
    said = inner.decode(infill.prompt("a(", ")z"), skip_special_tokens=False)
    assert said == "▁<PRE> a(▁<SUF>)z▁<MID>"


def test_without_marks_there_is_none(tmp_path: Path) -> None:
    assert Infill.of(tokenizer_with(tmp_path)) is None
    assert Infill.of(tokenizer_with(tmp_path, "<fim_prefix>", "<fim_suffix>")) is None


def test_a_long_text_is_refused(tmp_path: Path) -> None:
    infill = Infill.of(tokenizer_with(tmp_path, "[PREFIX]", "[SUFFIX]"))
    assert infill is not None
    with pytest.raises(ContextLengthError):
        infill.prompt("a", "b" * 100, max_tokens=50)
