"""llama.cpp's vocabularies: token ids as its files expect them, and as transformers has them."""

from __future__ import annotations

import importlib
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests.real.texts import SPECIAL, TEXTS
from unisono.core.errors import UnsupportedModelError
from unisono.gguf import GgufFile
from unisono.text import Tokenizer

SEPARATOR = "\n__ggml_vocab_test__\n"
COMPARED = (
    *("command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2", "llama-bpe"),
    *("llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact", "starcoder"),
)
WITHOUT_EXPECTATIONS = ("aquila", "baichuan", "gpt-neox")
REFUSED = {"bert-bge": "bert", "nomic-bert-moe": "t5"}
CLASSES = {
    "qwen2": "Qwen2Tokenizer",
    "qwen35": "Qwen3_5Tokenizer",
    "gpt-2": "GPT2Tokenizer",
    "mpt": "GPTNeoXTokenizer",
    "command-r": "CohereTokenizer",
    "gemma-4": "GemmaTokenizer",
}


def file_of(models: Path, name: str) -> Path:
    return models / f"ggml-vocab-{name}.gguf"


def expectations(path: Path) -> list[tuple[str, list[int]]]:
    texts = Path(f"{path}.inp").read_bytes().decode().split(SEPARATOR)
    lines = Path(f"{path}.out").read_text("utf-8").split("\n")
    assert abs(len(texts) - len(lines)) <= 1  # one of them may end with a separator
    return [
        (text, [int(number) for number in line.split()])
        for text, line in zip(texts, lines, strict=False)
    ]


@pytest.fixture(scope="module")
def load(llama_cpp_models: Path) -> Any:
    loaded: dict[str, Tokenizer] = {}

    def load_once(name: str) -> Tokenizer:
        if name not in loaded:
            loaded[name] = Tokenizer.load(file_of(llama_cpp_models, name))
        return loaded[name]

    return load_once


def test_every_file_is_named_here(llama_cpp_models: Path) -> None:
    found = {path.stem.removeprefix("ggml-vocab-") for path in llama_cpp_models.glob("*.gguf")}
    assert found == {*COMPARED, *WITHOUT_EXPECTATIONS, *REFUSED}


@pytest.mark.parametrize("name", COMPARED)
def test_ids_that_llama_cpp_expects(name: str, load: Any, llama_cpp_models: Path) -> None:
    """It does not bring a text of Qwen 3.5 into the form NFC, as transformers and we do."""
    tokenizer, cases = load(name), expectations(file_of(llama_cpp_models, name))
    assert len(cases) >= 46
    if name == "qwen35":
        composed = [case for case in cases if unicodedata.is_normalized("NFC", case[0])]
        assert len(composed) == len(cases) - 3
        cases = composed
    differ = [
        (text, found, expected)
        for text, expected in cases
        if (found := tokenizer.encode(text, add_special_tokens=False)) != expected
    ]
    assert differ == []


@pytest.mark.parametrize("name", CLASSES)
def test_ids_of_transformers(name: str, load: Any, llama_cpp_models: Path) -> None:
    path = file_of(llama_cpp_models, name)
    metadata = GgufFile.read(path).metadata
    tokens = metadata.texts("tokenizer.ggml.tokens") or []
    kinds = metadata.numbers("tokenizer.ggml.token_type") or []
    merges = [tuple(merge.split(" ")) for merge in metadata.texts("tokenizer.ggml.merges") or []]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    oracle = getattr(importlib.import_module("transformers"), CLASSES[name])(vocabulary, merges)
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind in (2, 3)]
    own = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 4]
    oracle.add_tokens(special, special_tokens=True)
    oracle.add_tokens(own)
    texts = [*TEXTS, *(text for text, _ in expectations(path))]
    tokenizer = load(name)
    differ = [
        (text, found, expected)
        for text in texts
        if (found := tokenizer.encode(text, add_special_tokens=False))
        != (expected := oracle.encode(text, add_special_tokens=False))
    ]
    assert differ == []


@pytest.mark.parametrize("name", WITHOUT_EXPECTATIONS)
def test_texts_come_back(name: str, load: Any) -> None:
    """All but sentencepiece's mark of a space, which becomes one."""
    tokenizer = load(name)
    for text in TEXTS[: -len(SPECIAL)]:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids, skip_special_tokens=False) in (text, text.replace("▁", " "))


@pytest.mark.parametrize("name", REFUSED)
def test_kinds_that_are_not_read(name: str, llama_cpp_models: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=f"kind '{REFUSED[name]}'"):
        Tokenizer.load(file_of(llama_cpp_models, name))
