"""The ModelScope client against a local stand-in for its HTTP API."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from unisono.core.errors import CheckpointError, ConfigError, ModelError, ModelNotFoundError
from unisono.hub import resolve_model, transfer

NAME = "modelscope:org/tiny"
WEIGHTS = bytes(range(256)) * 4096
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": WEIGHTS,
    "modeling_evil.py": b"import os",
    "pytorch_model.bin": b"pickle",
}


@dataclass
class Hub:
    """State of the stand-in: its files, its misbehaviour, and the requests it saw."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    extra_entries: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    listing: bytes | None = None
    drops: int = 0
    stalled: bool = False
    ignores_ranges: bool = False
    corrupt: bool = False
    requests: list[str] = field(default_factory=list)
    tokens: set[tuple[str, str]] = field(default_factory=set)
    ranges: list[str] = field(default_factory=list)
    url: str = ""

    def entries(self) -> list[dict[str, Any]]:
        listed = [
            {
                "Path": name,
                "Type": "blob",
                "Size": len(content),
                "Sha256": hashlib.sha256(content).hexdigest(),
            }
            for name, content in self.files.items()
        ]
        return [*listed, {"Path": "original", "Type": "tree", "Size": 0}, *self.extra_entries]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        kind = url.path.strip("/").split("/")[0]
        self.hub.requests.append(self.path)
        self.hub.tokens.add((kind, self.headers.get("Authorization", "")))
        if kind == "cdn":
            self._send_file(self.hub.files[url.path.split("/")[-1]])
        elif self.hub.status != 200 or query["Revision"] not in ("master", "v1"):
            status = self.hub.status if self.hub.status != 200 else 404
            self._send(status, b'{"Code": 10010205001, "Success": false}')
        elif url.path == "/api/v1/models/org/tiny/repo/files":
            answer = {"Code": 200, "Success": True, "Data": {"Files": self.hub.entries()}}
            self._send(200, self.hub.listing or json.dumps(answer).encode())
        elif query["FilePath"].endswith(".safetensors"):
            location = f"{self.hub.url}/cdn/{query['FilePath']}"
            self._send(302, b"", {"Location": location.replace("127.0.0.1", "localhost")})
        else:
            self._send_file(self.hub.files[query["FilePath"]])

    def _send_file(self, content: bytes) -> None:
        content = b"x" * len(content) if self.hub.corrupt else content
        requested = self.headers.get("Range")
        if requested is not None:
            self.hub.ranges.append(requested)
        if requested is None or self.hub.ignores_ranges:
            self._send(200, content)
            return
        start = int(requested.removeprefix("bytes=").split("-")[0])
        content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206, content[start:], {"Content-Range": content_range})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        large = len(body) > 10_000
        if large and (self.hub.drops or self.hub.stalled):
            self.hub.drops -= 1
            self.wfile.write(b"" if self.hub.stalled else body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", state.url)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def dead_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")


def unplug(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_fresh_download_brings_weights_and_data_alone(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret")
    folder = resolve_model(NAME)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not any(".py" in request or ".bin" in request for request in hub.requests)
    assert ("api", "Bearer ms-secret") in hub.tokens
    assert ("cdn", "") in hub.tokens
    assert ("cdn", "Bearer ms-secret") not in hub.tokens


def test_named_templates_come_from_their_folder(hub: Hub) -> None:
    hub.files["additional_chat_templates/tool_use.jinja"] = b"tools"
    hub.files["other/chat_template.jinja"] = b"no"
    folder = resolve_model(NAME)
    templates = folder / "additional_chat_templates"
    assert (templates / "tool_use.jinja").read_bytes() == b"tools"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "model.safetensors", "additional_chat_templates")
    }
    assert any("Recursive=True" in request for request in hub.requests)


def test_second_call_comes_from_the_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve_model(NAME)
    hub.requests.clear()
    assert resolve_model(NAME) == first
    assert len(hub.requests) == 1, "the listing alone"
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    assert resolve_model(NAME) == first
    unplug(monkeypatch)
    assert resolve_model(NAME, offline=True) == first
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve_model(NAME) == first


def test_a_branch_that_moves_gets_a_new_folder(hub: Hub) -> None:
    first = resolve_model(NAME)
    hub.files["config.json"] = b'{"model_type": "qwen3"}'
    second = resolve_model(NAME)
    assert second != first
    assert (first / "config.json").read_bytes() == b'{"model_type": "llama"}'
    assert (second / "config.json").read_bytes() == b'{"model_type": "qwen3"}'


def test_a_pinned_revision(hub: Hub) -> None:
    resolve_model(NAME, revision="v1")
    assert all("Revision=v1" in request for request in hub.requests if "/api/" in request)
    with pytest.raises(ModelNotFoundError, match="revision 'v9'"):
        resolve_model(NAME, revision="v9")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_repository_that_is_not_there_or_not_ours(hub: Hub, status: int) -> None:
    hub.status = status
    with pytest.raises(ModelNotFoundError, match=f"HTTP {status}") as caught:
        resolve_model(NAME)
    assert "MODELSCOPE_API_TOKEN" in caught.value.hint


@pytest.mark.usefixtures("dead_hub")
def test_no_network_and_nothing_in_the_cache() -> None:
    with pytest.raises(ModelNotFoundError, match="cannot be reached") as caught:
        resolve_model(NAME)
    assert "MODELSCOPE_ENDPOINT" in caught.value.hint


@pytest.mark.usefixtures("hub")
def test_offline_and_nothing_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    unplug(monkeypatch)
    with pytest.raises(ModelNotFoundError, match="offline mode is on"):
        resolve_model(NAME, offline=True)


def test_a_file_sent_in_halves_is_put_together(hub: Hub) -> None:
    hub.drops = 2
    folder = resolve_model(NAME)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.ranges == [f"bytes={len(WEIGHTS) // 2}-", f"bytes={len(WEIGHTS) * 3 // 4}-"]


def test_a_server_without_ranges_is_asked_for_the_whole_again(hub: Hub) -> None:
    hub.drops, hub.ignores_ranges = 1, True
    assert (resolve_model(NAME) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_download_that_was_broken_off_goes_on(hub: Hub, tmp_path: Path) -> None:
    folder = resolve_model(NAME)
    complete = folder / "model.safetensors"
    complete.rename(complete.with_name("model.safetensors.part"))
    with complete.with_name("model.safetensors.part").open("r+b") as part:
        part.truncate(1000)
    with pytest.raises(ModelNotFoundError, match="not complete"):
        resolve_model(NAME, offline=True)
    assert resolve_model(NAME) == folder
    assert complete.read_bytes() == WEIGHTS
    assert hub.ranges == ["bytes=1000-"]


def test_a_server_that_never_finishes(hub: Hub) -> None:
    hub.stalled = True
    with pytest.raises(ModelError, match="stopped") as caught:
        resolve_model(NAME)
    assert "goes on where it stopped" in caught.value.hint


def test_changed_bytes_are_noticed_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.corrupt = True
    with pytest.raises(CheckpointError, match="does not match its published hash"):
        resolve_model(NAME)
    assert not list(tmp_path.rglob("config.json*"))


@pytest.mark.parametrize("path", ["../evil.safetensors", "/etc/evil.json", "a\\..\\evil.json"])
def test_a_path_that_leaves_the_folder(hub: Hub, path: str) -> None:
    hub.extra_entries.append({"Path": path, "Type": "blob", "Size": 1, "Sha256": "0" * 64})
    with pytest.raises(CheckpointError, match="outside itself"):
        resolve_model(NAME)


def test_weights_without_a_hash_are_refused(hub: Hub) -> None:
    hub.extra_entries.append({"Path": "b.safetensors", "Type": "blob", "Size": 1, "Sha256": ""})
    with pytest.raises(CheckpointError, match="no hash"):
        resolve_model(NAME)


def test_only_pickled_weights(hub: Hub) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(CheckpointError, match="no safetensors"):
        resolve_model(NAME)


def test_a_full_disk(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(ModelError, match="is full") as caught:
        resolve_model(NAME)
    assert "MODELSCOPE_CACHE" in caught.value.hint
    assert not any("FilePath" in request for request in hub.requests)


@pytest.mark.parametrize("listing", [b"<html>log in first</html>", b"{}", b"[]", b"\xff"])
def test_an_answer_that_is_not_modelscopes(hub: Hub, listing: bytes) -> None:
    hub.listing = listing
    with pytest.raises(ModelError, match="did not answer like ModelScope"):
        resolve_model(NAME)


@pytest.mark.usefixtures("hub")
def test_an_endpoint_that_is_no_web_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "file:///etc")
    with pytest.raises(ConfigError, match="no http"):
        resolve_model(NAME)
