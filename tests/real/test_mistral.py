"""Mistral's tokenizer files against mistral-common's own tokenizers."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.real.texts import SPECIAL, TEXTS
from unisono.text import Tokenizer

SENTENCEPIECE = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
    "v7 with images": "mistral_instruct_tokenizer_241114.model.v7m1",
}
TEKKEN = ("tekken_240718.json", "tekken_240911.json")
MARKS = ("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]")


def module_of_oracle(name: str) -> Any:
    return importlib.import_module(f"mistral_common.tokens.tokenizers.{name}")


def load(path: Path, name: str, folder: Path) -> Tokenizer:
    shutil.copy(path, folder / name)
    return Tokenizer.load(folder)


def ids_of(found: Tokenizer, text: str) -> list[int]:
    return found.encode(text, add_special_tokens=False)


def test_every_file_is_named_here(mistral_data: Path) -> None:
    found = {
        path.name for path in mistral_data.iterdir() if "token" in path.name or "tek" in path.name
    }
    assert found == {*SENTENCEPIECE.values(), *TEKKEN}


@pytest.mark.parametrize("file", TEKKEN)
def test_tekken(file: str, mistral_data: Path, tmp_path: Path) -> None:
    """Files of version v3: neither lists its special tokens."""
    theirs = module_of_oracle("tekken").Tekkenizer.from_file(mistral_data / file)
    ours = load(mistral_data / file, "tekken.json", tmp_path)
    assert ours.vocab_size == theirs.n_words == 131_072
    for text in TEXTS[: -len(SPECIAL)]:  # mistral-common reads special tokens in no text
        expected = theirs.encode(text, bos=False, eos=False)
        assert ids_of(ours, text) == expected
        assert ours.encode(text) == [theirs.bos_id, *expected]
        assert ours.decode(expected) == text
    for token in theirs._all_special_tokens:
        assert ours.token_id(token["token_str"]) == token["rank"]
        assert ours.is_special(token["rank"])
    bytes_of = theirs.id_to_byte_piece
    for token_id in range(theirs.num_special_tokens, ours.vocab_size, 7):
        assert ours.token_bytes(token_id) == bytes_of(token_id)
    names = (ours.bos_token, ours.eos_token)
    assert [ours.token_id(name or "") for name in names] == [theirs.bos_id, theirs.eos_id]


@pytest.mark.parametrize("version", SENTENCEPIECE)
def test_sentencepiece(version: str, mistral_data: Path, tmp_path: Path) -> None:
    file = mistral_data / SENTENCEPIECE[version]
    theirs = module_of_oracle("sentencepiece").SentencePieceTokenizer(str(file))
    ours = load(file, "tokenizer.model", tmp_path)
    assert ours.vocab_size == theirs.n_words
    for text in TEXTS[: -len(SPECIAL)]:
        expected = theirs.encode(text, bos=False, eos=False)
        assert ids_of(ours, text) == expected
        assert ours.decode(expected) == theirs.decode(expected)
    named = [mark for mark in MARKS if mark in theirs._vocab]
    assert bool(named) == (version != "v1")
    for mark in named:
        assert ours.token_id(mark) == theirs.get_special_token(mark)
