"""Tokens of the small files beside a vocabulary, and their flags, against transformers."""

from __future__ import annotations

import importlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from unisono.core.errors import CheckpointError
from unisono.text import Tokenizer

TEXTS = [
    "x<one>y <one> z  <one>  <one>",
    " <one>\n\tword<one>word <one>.",
    "<ONE> <One> a <two>  b<two>  <|im_end|> c  <|im_end|>",
    "hello<two>  <end>  world <extra> x <extra>!",
]
FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")


def model(
    folders: dict[str, Path],
    tmp_path: Path,
    in_vocabulary: list[dict[str, Any]],
    config: dict[str, Any],
    style: str = "qwen",
    **files: Any,
) -> Path:
    """A folder whose tokenizer.json has tokens behind those of ``style``."""
    folder = tmp_path / "model"
    shutil.copytree(folders[style], folder)
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    content["added_tokens"] += in_vocabulary
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    given = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**given, **config}))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def compare(folder: Path) -> None:
    oracle = importlib.import_module("transformers").AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer.load(folder)
    assert ours.vocab_size == len(oracle)
    expected = {t for t, token in oracle.added_tokens_decoder.items() if token.special}
    assert ours.special_ids == expected
    for text in TEXTS:
        token_ids = ours.encode(text)
        assert token_ids == oracle.encode(text)
        for skip in (True, False):
            shown = oracle.decode(
                token_ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
            )
            assert ours.decode(token_ids, skip_special_tokens=skip) == shown


def first_id(folders: dict[str, Path], style: str = "qwen") -> int:
    return Tokenizer.load(folders[style]).vocab_size


def token(text: str, **flags: bool) -> dict[str, Any]:
    return {"content": text, **dict.fromkeys(FLAGS, False), **flags}


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("style", ["qwen", "llama2"])
def test_flags_of_the_config_win(
    folders: dict[str, Path], tmp_path: Path, flag: str, value: bool, style: str
) -> None:
    size = first_id(folders, style)
    theirs = {"id": size, **token("<one>", **{flag: not value})}
    declared = {str(size): token("<one>", **{flag: value})}
    compare(model(folders, tmp_path, [theirs], {"added_tokens_decoder": declared}, style))


def test_any_flags_of_several_tokens(folders: dict[str, Path], tmp_path: Path) -> None:
    size = first_id(folders)
    sets = list(itertools.product([True, False], repeat=5))[::5]
    for number, flags in enumerate(sets):
        theirs = [
            {"id": size, **token("<one>")},
            {"id": size + 1, **token("<two>", special=True)},
        ]
        declared = {
            str(size + 1): token("<two>", **dict(zip(FLAGS, flags, strict=True))),
            str(size): token("<one>", **dict(zip(FLAGS, flags[::-1], strict=True))),
            str(size + 2): token("<end>", rstrip=True),
        }
        config = {"added_tokens_decoder": declared, "eos_token": "<end>"}
        compare(model(folders, tmp_path / str(number), theirs, config))


@pytest.mark.parametrize("typed", [True, False])
def test_named_tokens_of_either_form(folders: dict[str, Path], tmp_path: Path, typed: bool) -> None:
    size = first_id(folders)
    entry = {"__type": "AddedToken", **token("<end>", rstrip=True)} if typed else "<end>"
    config = {
        "eos_token": entry,
        "image_token": "<two>",
        "additional_special_tokens": [
            {"__type": "AddedToken", **token("<extra>", lstrip=True, special=True)}
            if typed
            else "<extra>"
        ],
    }
    theirs = [{"id": size, **token("<one>", lstrip=True)}]
    compare(model(folders, tmp_path, theirs, config))


@pytest.mark.parametrize("named", ["<one>", "<|im_end|>"])
def test_a_named_token_is_special_where_the_config_changes_it(
    folders: dict[str, Path], tmp_path: Path, named: str
) -> None:
    size = first_id(folders)
    theirs = [{"id": size, **token("<one>", lstrip=True)}]
    for number, flags in enumerate([{"lstrip": True}, {"rstrip": True}]):
        config = {"added_tokens_decoder": {str(size): token("<one>", **flags)}, "eos_token": named}
        compare(model(folders, tmp_path / str(number), theirs, config))


def test_own_tokens_of_a_model_by_name(folders: dict[str, Path], tmp_path: Path) -> None:
    config = {"extra_special_tokens": {"one_token": "<one>", "other": "<two>"}}
    compare(model(folders, tmp_path, [], config))


def test_legacy_files(folders: dict[str, Path], tmp_path: Path) -> None:
    size = first_id(folders)
    theirs = [{"id": size, **token("<one>", lstrip=True)}]
    legacy = {"eos_token": token("<end>", rstrip=True), "bos_token": "<|im_end|>"}
    folder = model(
        folders,
        tmp_path,
        theirs,
        {},
        special_tokens_map=legacy,
        added_tokens={"<one>": size, "<two>": size + 1, "<end>": size + 2},
    )
    compare(folder)
    assert Tokenizer.load(folder).eos_token == "<end>"


@pytest.mark.parametrize("config", [{"eos_token": "<one>"}, {"image_token": "<one>"}, {}])
def test_a_named_token_of_the_vocabulary_is_special(
    folders: dict[str, Path], tmp_path: Path, config: dict[str, Any]
) -> None:
    theirs = [{"id": first_id(folders), **token("<one>", rstrip=True)}]
    compare(model(folders, tmp_path, theirs, config))


def test_legacy_files_have_no_say_beside_the_configs_decoder(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    size = first_id(folders)
    theirs = [{"id": size, **token("<one>", lstrip=True)}]
    config = {"added_tokens_decoder": {str(size): token("<one>", special=True)}}
    legacy = {"eos_token": token("<two>")}
    files = {"special_tokens_map": legacy, "added_tokens": {"<two>": size + 1}}
    compare(model(folders, tmp_path, theirs, config, **files))


@pytest.mark.parametrize("entry", [5, "x", {}, {"content": 1}, None, []])
def test_an_entry_that_is_no_token(folders: dict[str, Path], tmp_path: Path, entry: Any) -> None:
    config = {"added_tokens_decoder": {"5": entry}}
    with pytest.raises(CheckpointError, match="added_tokens_decoder"):
        Tokenizer.load(model(folders, tmp_path, [], config))
