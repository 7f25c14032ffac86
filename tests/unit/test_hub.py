"""Names of models, and the rules for files; no connection is opened."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from unisono import hub
from unisono.core.errors import CheckpointError, ConfigError, ModelNotFoundError
from unisono.hub import files, resolving


def test_a_folder_is_itself(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    assert hub.resolve_model(str(tmp_path)) == tmp_path


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no revision 'v1'"):
        hub.resolve_model(str(tmp_path), revision="v1")


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "gpt2", "a/b/c", "", "a b/c"])
def test_a_missing_folder_says_what_was_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError) as caught:
        hub.resolve_model(name)
    assert repr(name) in caught.value.message
    assert "Qwen/Qwen3-0.6B" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://huggingface.co/Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("https://huggingface.co/Qwen/Qwen3-0.6B/tree/main", "Qwen/Qwen3-0.6B"),
        ("https://hf-mirror.com/Qwen/Qwen3-0.6B?x=1", "Qwen/Qwen3-0.6B"),
        ("https://modelscope.cn/models/Qwen/Qwen3-0.6B", "modelscope:Qwen/Qwen3-0.6B"),
    ],
)
def test_the_address_of_a_page_is_no_id_but_holds_one(address: str, name: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        hub.resolve_model(address)
    assert caught.value.hint.endswith(f": {name}.")


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ModelNotFoundError, match="is a file") as caught:
        hub.resolve_model(str(file))
    assert str(tmp_path) in caught.value.hint


@pytest.mark.parametrize(
    "name", ["modelscope:", "modelscope:qwen", "modelscope:../../etc", "modelscope:a/b/c"]
)
def test_a_bad_modelscope_id(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="not a ModelScope id"):
        hub.resolve_model(name)


def test_no_name_is_the_demo_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "__file__", str(tmp_path / "hub" / "__init__.py"))
    with pytest.raises(ModelNotFoundError, match="no built-in demo model"):
        hub.resolve_model(None)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "config.json").write_text("{}")
    assert hub.resolve_model(None) == tmp_path / "demo"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Qwen/Qwen3-0.6B", True),
        ("modelscope:Qwen/Qwen3-0.6B", True),
        ("Hello", False),
        ("yes/no or maybe?", False),
        ("Why is 1/2 a fraction?", False),
        ("您好，请问余额是多少？", False),
        ("x" * 100_000, False),
        ("line\nline", False),
    ],
)
def test_what_looks_like_a_model(word: str, expected: bool) -> None:
    assert hub.looks_like_model(word) is expected


def test_an_existing_folder_looks_like_a_model(tmp_path: Path) -> None:
    assert hub.looks_like_model(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("model.safetensors.index.json", True),
        ("config.json", True),
        ("chat_template.jinja", True),
        ("tokenizer.model", True),
        ("tiktoken.model", True),
        ("qwen.tiktoken", True),
        ("tekken.json", True),
        ("tokenization_kimi.py", False),
        ("modeling_custom.py", False),
        ("pytorch_model.bin", False),
        ("weights.pt", False),
        ("original/model.safetensors", False),
        ("consolidated.safetensors", False),
        ("../config.json", False),
        ("additional_chat_templates/tool_use.jinja", True),
        ("additional_chat_templates/model.safetensors", False),
        ("additional_chat_templates/deep/tool_use.jinja", False),
        ("additional_chat_templates2/tool_use.jinja", False),
        ("additional_chat_template/tool_use.jinja", False),
        ("additional/chat_template.jinja", False),
        ("a/chat_template.jinja", False),
        ("awq/model.safetensors", False),
        ("modules.json", True),
        ("config_sentence_transformers.json", True),
        ("1_Pooling/config.json", True),
        ("2_Dense/model.safetensors", False),
        ("1_Pooling/deep/config.json", False),
        ("original/additional_chat_templates/tool_use.jinja", False),
    ],
)
def test_which_files_are_wanted(path: str, expected: bool) -> None:
    assert files.is_wanted(path) is expected


def test_digests_of_both_kinds_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"what is up, doc?")
    sha256 = hashlib.sha256(b"what is up, doc?").hexdigest()
    git_blob = "bd9dbf5aae1a3862dd1526723246b20206e5fc37"  # the example in the Pro Git book
    assert files.content_matches(path, sha256)
    assert files.content_matches(path, git_blob)
    assert not files.content_matches(path, "0" * 64)
    assert not files.content_matches(path, "0" * 40)


def test_weights_in_pickles_are_refused() -> None:
    with pytest.raises(CheckpointError, match="no safetensors") as caught:
        files.require_safetensors(["config.json", "pytorch_model.bin"], "org/old")
    assert "convert" in caught.value.hint


def test_a_full_disk_names_the_way_out() -> None:
    error = files.storage_error(OSError(errno.ENOSPC, "No space left"), Path("/cache"))
    assert "/cache is full" in error.message
    assert "HF_HUB_CACHE" in error.hint


def test_a_cache_that_cannot_be_written() -> None:
    error = files.storage_error(PermissionError(errno.EACCES, "Permission denied"), Path("/cache"))
    assert "Permission denied" in error.message
