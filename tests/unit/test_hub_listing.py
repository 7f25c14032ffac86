"""A hub's listing is checked, and where a download may go; no connection is opened."""

from __future__ import annotations

from typing import Any

import pytest

from unisono.core.errors import CheckpointError, ConfigError
from unisono.hub.addresses import check_endpoint, origin, refusal
from unisono.hub.http import bearer
from unisono.hub.listing import RemoteFile, is_safe_path, wanted_files

SHA256, BLOB = "ab" * 32, "cd" * 20


def test_wanted_files_come_in_order() -> None:
    listed = [
        ("model.safetensors", 7, SHA256.upper()),
        ("config.json", 2, BLOB),
        ("README.md", -1, None),
        ("additional_chat_templates/tool_use.jinja", 0, ""),
    ]
    assert wanted_files(listed) == [
        RemoteFile("additional_chat_templates/tool_use.jinja", 0, ""),
        RemoteFile("config.json", 2, BLOB),
        RemoteFile("model.safetensors", 7, SHA256),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "../model.safetensors",
        "a/../../model.safetensors",
        "..",
        "/model.safetensors",
        "//host/model.safetensors",
        "..\\model.safetensors",
        "a\\..\\..\\README.md",
        "C:\\model.safetensors",
        "C:model.safetensors",
        "model.safetensors:stream.safetensors",
        "model\0.safetensors",
        "model\n.safetensors",
        "\u202emodel.safetensors",
        "\ud800.safetensors",
        "con.safetensors",
        "LPT1.x.safetensors",
        "?.safetensors",
        f"{'x' * 300}.safetensors",
        f"{'é' * 120}.safetensors",
        None,
        7,
        ["config.json"],
        {"path": "config.json"},
    ],
    ids=repr,
)
def test_names_that_are_none(path: Any) -> None:
    with pytest.raises(CheckpointError, match="lists a file"):
        wanted_files([("config.json", 2, BLOB), (path, 2, SHA256)])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.safetensors", "a.safetensors"),
        ("a.safetensors", "A.safetensors"),
        ("é.safetensors", "e\u0301.safetensors"),
        ("ß.safetensors", "SS.safetensors"),
    ],
)
def test_two_names_that_some_file_systems_take_for_one(first: str, second: str) -> None:
    with pytest.raises(CheckpointError, match="twice"):
        wanted_files([(first, 2, SHA256), (second, 2, SHA256)])


@pytest.mark.parametrize("size", [-1, 1 << 60, 1.0, float("nan"), "7", None, True, [7]], ids=repr)
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(CheckpointError, match="with a size of"):
        wanted_files([("config.json", size, BLOB)])


@pytest.mark.parametrize(
    "digest",
    ["../../x", "/etc/passwd", "a" * 39, "g" * 64, f"{SHA256}\n", " " + BLOB, 7, [SHA256], True],
    ids=repr,
)
def test_hashes_that_are_none(digest: Any) -> None:
    with pytest.raises(CheckpointError, match="a hash that is none"):
        wanted_files([("config.json", 2, digest)])


@pytest.mark.parametrize("digest", [None, ""])
def test_weights_need_a_hash(digest: Any) -> None:
    with pytest.raises(CheckpointError, match="publishes no hash"):
        wanted_files([("model.safetensors", 2, digest)])


@pytest.mark.parametrize("path", ["main", "v1.0", "refs/pr/1", "release-2", "模型"])
def test_safe_paths(path: str) -> None:
    assert is_safe_path(path)


@pytest.mark.parametrize(
    "path", ["", "a//b", "a/", "a/.", "a/..", "/a", "a\\b", "nul", "a ", "a:b"]
)
def test_paths_that_are_not_safe(path: str) -> None:
    assert not is_safe_path(path)


@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co",
        "https://mirror.lan:8443/hf",
        "http://127.0.0.1:80",
        "http://127.9.9.9",
        "http://localhost:9/x",
        "http://[::1]:7",
    ],
)
def test_addresses_that_need_no_word(url: str) -> None:
    assert refusal(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://mirror.lan",
        "http://10.0.0.1",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://0.0.0.0",
        "HTTP://mirror.lan",
    ],
)
def test_plain_http_needs_a_word(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNISONO_ALLOW_HTTP", raising=False)
    with pytest.raises(ConfigError, match="UNISONO_ALLOW_HTTP=1"):
        check_endpoint(url, "HF_ENDPOINT")
    monkeypatch.setenv("UNISONO_ALLOW_HTTP", "1")
    assert check_endpoint(f"{url}/", "HF_ENDPOINT") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mirror.lan",
        "ftp://mirror.lan",
        "file:///etc/passwd",
        "https://",
        "https://[::1",
        "https://a:port",
        "https://user:word@mirror.lan",
        "https://a\x00b",
        "https://a\nb",
    ],
)
def test_what_is_no_address(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNISONO_ALLOW_HTTP", "1")
    with pytest.raises(ConfigError, match="HF_ENDPOINT"):
        check_endpoint(url, "HF_ENDPOINT")


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://A.example/x") == origin("https://a.example:443/y")
    assert origin("https://a.example") != origin("http://a.example:443")
    assert origin("https://a.example") != origin("https://a.example:444")


@pytest.mark.parametrize("token", ["hf_a b", "hf_a\nX-Evil: 1", "hf_é", "\x00"])
def test_a_token_is_one_plain_word(token: str) -> None:
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        bearer(token, "HF_TOKEN")
    assert bearer("hf_abc", "HF_TOKEN") == {"Authorization": "Bearer hf_abc"}
    assert bearer("", "HF_TOKEN") == bearer(None, "HF_TOKEN") == {}
