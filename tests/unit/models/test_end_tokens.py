"""Tokens that end an answer, by the files of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unisono.core.errors import CheckpointError
from unisono.models.checkpoint.end_tokens import end_token_ids
from unisono.models.raw_config import RawConfig


def ids(folder: Path, config: Any = 2, **files: Any) -> frozenset[int]:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return end_token_ids(folder, RawConfig({"eos_token_id": config}, "config.json"), 100)


@pytest.mark.parametrize("none", [None, -1, [], [-1], [None]])
def test_generation_config_comes_before_config(tmp_path: Path, none: Any) -> None:
    assert ids(tmp_path, 2) == {2}
    assert ids(tmp_path, [2, 3], generation_config={"eos_token_id": [5, 6, -1]}) == {5, 6}
    assert ids(tmp_path, [2, -1], generation_config={"eos_token_id": none}) == {2}
    assert ids(tmp_path, none) == frozenset()


TOKENIZER = {
    "version": "1.0",
    "added_tokens": [{"id": 7, "content": "<end>", "special": True}, {"id": 8, "content": "</s>"}],
    "model": {"type": "BPE", "vocab": {"a": 0, "stop": 9}},
}


@pytest.mark.parametrize("form", [lambda text: text, lambda text: {"content": text, "id": 1}])
@pytest.mark.parametrize(
    ("named", "files", "expected"),
    [
        ("<end>", {"tokenizer": TOKENIZER}, 7),
        ("stop", {"tokenizer": TOKENIZER}, 9),
        ("stop", {"tokenizer": {"model": {"vocab": [["a", 0.0], ["stop", -1.5]]}}}, 1),
        ("<end>", {"added_tokens": {"<end>": 11}, "tokenizer": TOKENIZER}, 11),
        ("<end>", {"added_tokens": {"<other>": 11}}, None),
        ("missing", {"tokenizer": TOKENIZER}, None),
        ("far", {"added_tokens": {"far": 100}}, None),
    ],
)
def test_the_tokenizers_own(
    tmp_path: Path, form: Any, named: str, files: dict[str, Any], expected: int | None
) -> None:
    config = {"eos_token": form(named)}
    found = ids(tmp_path, tokenizer_config=config, **files)
    assert found == {2} | ({expected} if expected is not None else set())


def test_the_config_declares_tokens(tmp_path: Path) -> None:
    declared = {"12": {"content": "<end>"}, "13": {"content": "</s>"}}
    config = {"eos_token": "<end>", "added_tokens_decoder": declared}
    assert ids(tmp_path, -1, tokenizer_config=config, tokenizer=TOKENIZER) == {12}
    legacy = {"eos_token": {"content": "</s>"}}
    assert ids(tmp_path, special_tokens_map=legacy) == {2, 12}
    assert ids(tmp_path, tokenizer_config={"eos_token": "<end>"}) == {2, 8}


@pytest.mark.parametrize("named", [None, 5, [], {"content": None}, {}])
def test_a_tokenizer_may_name_none(tmp_path: Path, named: Any) -> None:
    assert ids(tmp_path, tokenizer_config={"eos_token": named}, tokenizer=TOKENIZER) == {2}


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"added_tokens": 5}', '{"added_tokens": [[', "[" * 99999, '"added_tokens"'],
)
def test_a_broken_tokenizer_is_for_others_to_refuse(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    assert ids(tmp_path, tokenizer_config={"eos_token": "<end>"}) == {2}


@pytest.mark.parametrize("value", ["2", 2.0, True, -2, 100, [2, "3"], {"id": 2}, [[2]]])
def test_what_is_no_token_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(CheckpointError, match="eos_token_id"):
        ids(tmp_path, value)
    with pytest.raises(CheckpointError, match="below 100"):
        ids(tmp_path, generation_config={"eos_token_id": value})
