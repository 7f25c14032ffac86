"""Tokenizers that explode are stopped; neither the caller nor the next text suffers from it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from unisono.core.errors import CheckpointError, InvalidRequestError
from unisono.text import Detokenizer, Tokenizer
from unisono.text.limited.process import Limits
from unisono.text.tokenizer_process import TokenizerProcess
from unisono.text.vocabulary.spelling import read_spelling

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no resource limits there")
LIMITS = Limits(max_cpu_s=1.0, max_start_cpu_s=120.0, max_memory_bytes=1 << 30)
GROWS = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
BOMBS: dict[str, dict[str, Any]] = {
    "normalizer": {
        "normalizer": {"type": "Sequence", "normalizers": [GROWS] * 4},
    },
    "nested": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Sequence", "normalizers": [GROWS] * 2}] * 2,
        },
    },
    "empty matches": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"Regex": ""}, "content": "b" * 1000}]
            * 4,
        },
    },
    "backtracking": {
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "(?:a|aa|b)+(?:a|aa|ab)+(?:a|aa)+(?:a|aa)+c"},
            "behavior": "Isolated",
            "invert": False,
        },
    },
}


def folder_with(folders: dict[str, Path], tmp_path: Path, change: dict[str, Any]) -> Path:
    content = json.loads((folders["llama2"] / "tokenizer.json").read_text("utf-8"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps({**content, **change}))
    return folder


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_tokenizer_that_explodes_is_stopped(
    folders: dict[str, Path], tmp_path: Path, bomb: str
) -> None:
    folder = folder_with(folders, tmp_path, BOMBS[bomb])
    tokenizer = Tokenizer(TokenizerProcess(folder, LIMITS))
    text = "aa" * 50 if bomb == "backtracking" else "aaaa"
    harmless = "" if bomb == "empty matches" else "xyz"
    token_ids = tokenizer.encode(harmless)
    for _ in range(2):
        with pytest.raises((InvalidRequestError, CheckpointError), match="tokenizer"):
            tokenizer.encode(text * 400)
        assert tokenizer.encode(harmless) == token_ids


def test_a_decoder_that_explodes_is_stopped(folders: dict[str, Path], tmp_path: Path) -> None:
    decoder = {"type": "Sequence", "decoders": [GROWS] * 4}
    folder = folder_with(folders, tmp_path, {"decoder": decoder})
    tokenizer = Tokenizer(TokenizerProcess(folder, LIMITS))
    token_ids = tokenizer.encode("aaaa", add_special_tokens=False)
    with pytest.raises(InvalidRequestError, match="is stopped"):
        tokenizer.decode(token_ids)
    stream = Detokenizer(tokenizer)
    assert stream.push(token_ids) == ""
    with pytest.raises(InvalidRequestError, match="is stopped"):
        stream.finish()
    assert all(len(tokenizer.token_text(token_id)) < 100 for token_id in token_ids)


def test_what_a_decoder_may_do_to_a_token_is_bounded() -> None:
    replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    assert read_spelling({"type": "Sequence", "decoders": [replace] * 3}).streamed
    for replaces in ([GROWS], [replace] * 1000, [{**GROWS, "content": "a" * 9}] * 2):
        spelling = read_spelling({"type": "Sequence", "decoders": replaces})
        assert not spelling.streamed
        assert not spelling.replacements


def test_building_is_limited_too(folders: dict[str, Path]) -> None:
    for limits in (
        Limits(max_start_cpu_s=0.01, max_memory_bytes=1 << 30),
        Limits(max_memory_bytes=30 << 20),
    ):
        with pytest.raises(CheckpointError, match="cannot be built"):
            TokenizerProcess(folders["llama2"], limits)


def test_a_killed_process_is_replaced(folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.load(folders["qwen"])
    token_ids = tokenizer.encode("hello")
    for _ in range(3):
        child = tokenizer._process._program._short._child
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        assert tokenizer.encode("hello") == token_ids


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc there")
def test_it_is_one_thread_however_many_processors_there_are(folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.load(folders["qwen"])
    tokenizer.decode(tokenizer.encode("hello"))
    child = tokenizer._process._program._short._child
    assert child is not None
    assert "Threads:\t1\n" in Path(f"/proc/{child.pid}/status").read_text()


def test_long_texts_have_a_process_of_their_own(folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.load(folders["qwen"])
    text = "hello 世界 " * 5000
    token_ids = tokenizer.encode(text)
    assert tokenizer.decode(token_ids) == text
    program = tokenizer._process._program
    assert program._long._child is not None
    program._long._child.kill()
    short = tokenizer.encode("hello")
    assert short == token_ids[: len(short)] == tokenizer.encode(text)[: len(short)]


def test_a_vocabulary_with_gaps(folders: dict[str, Path], tmp_path: Path) -> None:
    content = json.loads((folders["words"] / "tokenizer.json").read_text("utf-8"))
    content["model"]["vocab"]["far"] = 4_000_000_000
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.vocab_size == 4_000_000_001
    assert tokenizer.token_text(4_000_000_000) == "far"
    assert tokenizer.token_text(3_000_000_000) == ""
    assert tokenizer.decode(tokenizer.encode("hello far")) == "hello far"
