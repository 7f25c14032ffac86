"""The tokenizer against transformers', and what it says about broken folders."""

from __future__ import annotations

import functools
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unisono.core.errors import CheckpointError, InvalidRequestError
from unisono.text import Tokenizer

TEXTS = [
    "",
    " ",
    "Hello world",
    "  two leading, trailing  ",
    "你好，世界！统一的引擎。",
    "emoji 👩‍👩‍👧‍👦 🇨🇳 👍🏽 and e\u0301 combining",
    "line\nbreak\r\n\ttab",
    "<s>special</s> inside <|im_start|>user<|im_end|> <tool_call>",
    "\x00 control \ufffd \U0010ffff",
    "Привет 12345 don't",
]


@pytest.fixture(
    params=["gemma", "llama2", "llama3", "metaspace", "qwen", "wordpiece", "words"],
)
def style(request: pytest.FixtureRequest) -> str:
    """A style whose folder transformers reads as the model was trained. ``test_converting`` has
    the others."""
    return str(request.param)


@functools.cache
def loaded_by_transformers(folder: Path) -> Any:
    return importlib.import_module("transformers").AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def oracle(style: str, folders: dict[str, Path]) -> Any:
    return loaded_by_transformers(folders[style])


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("special", [True, False])
def test_encode_and_decode_equal_transformers(
    tokenizer: Tokenizer, oracle: Any, text: str, special: bool
) -> None:
    token_ids = tokenizer.encode(text, add_special_tokens=special)
    assert token_ids == oracle.encode(text, add_special_tokens=special)
    for skip in (True, False):
        expected = oracle.decode(
            token_ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
        )
        assert tokenizer.decode(token_ids, skip_special_tokens=skip) == expected


@settings(max_examples=25)
@given(data=st.data())
def test_decode_of_any_ids_equals_transformers(
    tokenizer: Tokenizer, oracle: Any, data: st.DataObject
) -> None:
    ids = st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30)
    token_ids = data.draw(ids)
    for skip in (True, False):
        expected = oracle.decode(
            token_ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
        )
        assert tokenizer.decode(token_ids, skip_special_tokens=skip) == expected


def test_properties_equal_transformers(tokenizer: Tokenizer, oracle: Any) -> None:
    assert tokenizer.vocab_size == len(oracle)
    assert tokenizer.bos_token == oracle.bos_token
    assert tokenizer.eos_token == oracle.eos_token
    assert tokenizer.special_ids >= set(oracle.all_special_ids) - {None}
    for token_id in range(tokenizer.vocab_size):
        is_skipped = tokenizer.decode([token_id]) != tokenizer.decode(
            [token_id], skip_special_tokens=False
        )
        assert tokenizer.is_special(token_id) == is_skipped


def test_config_tokens_are_added_as_transformers_does(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    transformers = importlib.import_module("transformers")
    folder = tmp_path / "model"
    shutil.copytree(folders["qwen"], folder)
    size = Tokenizer.load(folder).vocab_size
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {
        str(size + 1): {"content": "<late>", "special": True},
        str(size): {"content": "<soon>", "special": False, "normalized": False},
        str(size - 1): {"content": "<think>", "special": True},
    }
    config["additional_special_tokens"] = ["<extra>", "<|im_start|>"]
    config["image_token"] = "<image>"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text('{"bos_token": "<never>"}')
    ours, oracle = Tokenizer.load(folder), transformers.AutoTokenizer.from_pretrained(folder)
    text = "a<late>b<soon>c<extra>d<image>e<|im_start|>f<never><think>"
    token_ids = ours.encode(text)
    assert token_ids == oracle.encode(text)
    assert ours.vocab_size == len(oracle)
    assert ours.decode(token_ids) == oracle.decode(token_ids, skip_special_tokens=True)
    assert [ours.is_special(ours.token_id(t) or 0) for t in ("<late>", "<soon>", "<extra>")] == [
        True,
        False,
        True,
    ]


def test_special_tokens_map_counts_without_added_tokens_decoder(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    transformers = importlib.import_module("transformers")
    folder = tmp_path / "model"
    shutil.copytree(folders["qwen"], folder)
    (folder / "special_tokens_map.json").write_text('{"bos_token": {"content": "<|endoftext|>"}}')
    oracle = transformers.AutoTokenizer.from_pretrained(folder)
    assert Tokenizer.load(folder).bos_token == oracle.bos_token == "<|endoftext|>"


def test_truncation_and_padding_of_the_file_are_ignored(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    content = json.loads((folders["qwen"] / "tokenizer.json").read_text("utf-8"))
    plain = Tokenizer.load(folders["qwen"]).encode("hello " * 50)
    content["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert Tokenizer.load(tmp_path).encode("hello " * 50) == plain


@pytest.mark.parametrize("style", ["qwen", "llama3", "llama2", "gemma"], indirect=True)
@pytest.mark.parametrize("text", ["你好 👍🏽", "Hello there", "\x80é"])
def test_token_bytes_spell_the_text(tokenizer: Tokenizer, text: str) -> None:
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    spelled = b"".join(tokenizer.token_bytes(token_id) or b"" for token_id in token_ids)
    assert spelled.decode().removeprefix(" ") == text


def test_token_text(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    llama2, qwen = tokenizers_by_style["llama2"], tokenizers_by_style["qwen"]
    assert llama2.token_bytes(3 + 0xE4) == b"\xe4"
    assert llama2.token_text(3 + 0xE4) == "\ufffd"
    assert llama2.token_text(llama2.encode("The")[1]).startswith(" ")
    assert qwen.token_text(qwen.token_id("<|im_end|>") or 0) == "<|im_end|>"
    assert qwen.token_bytes(qwen.encode("你")[0]) in ("你".encode(), "你".encode()[:1], b"\xe4\xbd")
    assert qwen.token_bytes(10**6) is None is qwen.token_bytes(-1)
    assert qwen.token_text(10**6) == ""


def test_what_is_no_text_is_refused(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers_by_style["qwen"]
    for wrong in ("half \ud800 pair", 5, None, b"bytes"):
        with pytest.raises(InvalidRequestError):
            tokenizer.encode(wrong)  # type: ignore[arg-type]
    for ids in ([-1], [1 << 32], ["a"]):
        with pytest.raises(InvalidRequestError):
            tokenizer.decode(ids)  # type: ignore[arg-type]
    assert tokenizer.decode([10**6]) == ""


def test_missing_and_corrupt_files(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path / "nothing")
    good = (folders["qwen"] / "tokenizer.json").read_bytes()
    for content in (b"", b"{}", b"not json", good[: len(good) // 2], b"\xff\xfe"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
            Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(good)
    Tokenizer.load(tmp_path)
    for content in (b"[]", b"{", b"\xff", b"[" * 100_000, b'{"added_tokens_decoder": {"x": 1}}'):
        (tmp_path / "tokenizer_config.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
            Tokenizer.load(tmp_path)


def test_files_are_size_capped(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(folders["qwen"] / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(" " * (17 << 20))
    with pytest.raises(CheckpointError, match="larger than"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "chat_template.jinja").write_text("x" * (257 << 10))
    with pytest.raises(CheckpointError, match="larger than"):
        Tokenizer.load(tmp_path)
