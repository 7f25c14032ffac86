"""The real download code against a local stand-in for the hub's HTTP API.

Each download runs in a process of its own, because huggingface_hub reads its environment once.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMITS = {"main": "a" * 40, "v1": "b" * 40}
WEIGHTS = bytes(range(256)) * 4096
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "modeling_evil.py": b"import os",
    "pytorch_model.bin": b"pickle",
    "original/params.json": b"{}",
}


@dataclass
class Hub:
    """State of the stand-in: its files, its misbehaviour, and the requests it saw."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    status: int = 200
    error_code: str = ""
    drop_after: int | None = None
    drops_left: int = 0
    corrupt: bool = False
    requests: list[str] = field(default_factory=list)
    tokens: set[tuple[str, str]] = field(default_factory=set)
    url: str = ""

    def content(self, path: str, commit: str) -> bytes:
        return b'{"v": 1}' if path == "config.json" and commit == "b" * 40 else self.files[path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.split("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        kind = "cdn" if path.startswith("/cdn/") else "hub"
        self.hub.tokens.add((kind, self.headers.get("Authorization", "")))
        parts = path.strip("/").split("/")
        if path.startswith("/cdn/"):
            self._send_file(self.hub.files[parts[1]])
        elif path.startswith("/api/models/"):
            self._answer_api(parts[2:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._answer_resolve(parts[3], "/".join(parts[4:]))
        else:
            self._send(404, b"")

    def _answer_api(self, parts: list[str]) -> None:
        if self.hub.status != 200:
            self._send(self.hub.status, b"{}", {"X-Error-Code": self.hub.error_code})
        elif len(parts) == 2 or parts[2] == "revision":
            revision = parts[3] if len(parts) > 3 else "main"
            if revision not in COMMITS:
                self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            info = {"id": "/".join(parts[:2]), "sha": COMMITS[revision], "siblings": []}
            self._send(200, json.dumps(info).encode())
        elif parts[2] == "tree":
            tree = [_tree_entry(name, self.hub.content(name, parts[3])) for name in self.hub.files]
            self._send(200, json.dumps(tree).encode())

    def _answer_resolve(self, commit: str, name: str) -> None:
        content = self.hub.content(name, commit)
        headers = {"X-Repo-Commit": commit}
        if not name.endswith(".safetensors"):
            self._send_file(content, {**headers, "ETag": f'"{_git_blob(content)}"'})
            return
        headers |= {
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.hub.url}/cdn/{name}".replace("127.0.0.1", "localhost"),
        }
        self._send(302, b"", headers)

    def _send_file(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        if self.hub.corrupt:
            content = b"x" * len(content)
        requested = self.headers.get("Range")
        if requested is None:
            self._send(200, content, headers)
            return
        start = int(requested.removeprefix("bytes=").split("-")[0])
        content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206, content[start:], {**(headers or {}), "Content-Range": content_range})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self.hub.drop_after
        if limit is not None and len(body) > limit and self.hub.drops_left:
            self.hub.drops_left -= 1
            self.wfile.write(body[:limit])
            self.close_connection = True
        else:
            self.wfile.write(body)


def _git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _tree_entry(name: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": name, "size": len(content), "oid": _git_blob(content)}
    if name.endswith(".safetensors"):
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return entry


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


_PROGRAM = """
import json, sys, types
from importlib.util import find_spec
models = types.ModuleType("unisono.models")  # the room's door without its torch: quick to start
models.__path__ = [find_spec("unisono").submodule_search_locations[0] + "/models"]
sys.modules["unisono.models"] = models
if sys.argv[1] == "forbid-sockets":
    def guard(event, args):
        if event.startswith("socket."):
            raise SystemExit(f"opened a socket: {event}")
    sys.addaudithook(guard)
from unisono.core.errors import UnisonoError
from unisono.hub import resolve_model
try:
    folder = resolve_model(sys.argv[2], **json.loads(sys.argv[3]))
    print(json.dumps({"folder": str(folder)}))
except UnisonoError as error:
    names = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    print(json.dumps(names))
"""


def resolve(
    url: str,
    cache: Path,
    name: str = "org/tiny",
    *,
    environment: dict[str, str] | None = None,
    sockets: bool = True,
    **arguments: Any,
) -> dict[str, str]:
    mode = "allow-sockets" if sockets else "forbid-sockets"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM, mode, name, json.dumps(arguments)],
        env={**inherited, "HF_ENDPOINT": url, "HF_HOME": str(cache), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def names_in(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def test_named_templates_come_from_their_folder(hub: Hub, tmp_path: Path) -> None:
    hub.files["additional_chat_templates/tool_use.jinja"] = b"tools"
    hub.files["other/chat_template.jinja"] = b"no"
    folder = resolve(hub.url, tmp_path)["folder"]
    assert names_in(folder) == {
        *("config.json", "tokenizer.json", "model.safetensors", "additional_chat_templates")
    }
    templates = Path(folder) / "additional_chat_templates"
    assert (templates / "tool_use.jinja").read_bytes() == b"tools"


def test_fresh_download_brings_weights_and_data_alone(hub: Hub, tmp_path: Path) -> None:
    folder = resolve(hub.url, tmp_path, environment={"HF_TOKEN": "hf_secret"})["folder"]
    assert names_in(folder) == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (Path(folder) / "model.safetensors").read_bytes() == WEIGHTS
    assert not any(".py" in request or ".bin" in request for request in hub.requests)
    assert ("hub", "Bearer hf_secret") in hub.tokens
    assert ("cdn", "Bearer hf_secret") not in hub.tokens


def test_second_call_comes_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    first = resolve(hub.url, tmp_path)
    dead = "http://127.0.0.1:9"
    assert resolve(dead, tmp_path) == first
    assert resolve(dead, tmp_path, offline=True, sockets=False) == first
    offline = {"HF_HUB_OFFLINE": "1"}
    assert resolve(dead, tmp_path, environment=offline, sockets=False) == first


def test_a_pinned_revision(hub: Hub, tmp_path: Path) -> None:
    for revision in ("v1", "b" * 40):
        folder = Path(resolve(hub.url, tmp_path, revision=revision)["folder"])
        assert (folder / "config.json").read_bytes() == b'{"v": 1}'
    missing = resolve(hub.url, tmp_path, revision="v9")
    assert missing["error"] == "ModelNotFoundError"
    assert "no revision 'v9'" in missing["message"]


@pytest.mark.parametrize(
    ("status", "code"), [(404, "RepoNotFound"), (401, "RepoNotFound"), (401, ""), (403, "")]
)
def test_a_repository_that_is_not_there_or_not_ours(
    hub: Hub, tmp_path: Path, status: int, code: str
) -> None:
    hub.status, hub.error_code = status, code
    answer = resolve(hub.url, tmp_path)
    assert answer["error"] == "ModelNotFoundError"
    assert "'org/tiny'" in answer["message"]
    assert "HF_TOKEN" in answer["hint"]


def test_a_gated_repository(hub: Hub, tmp_path: Path) -> None:
    hub.status, hub.error_code = 403, "GatedRepo"
    answer = resolve(hub.url, tmp_path)
    assert (answer["error"], answer["message"]) == ("ModelNotFoundError", "org/tiny is gated.")
    assert "HF_TOKEN" in answer["hint"]


def test_no_network_and_nothing_in_the_cache(tmp_path: Path) -> None:
    answer = resolve("http://127.0.0.1:9", tmp_path)
    assert answer["error"] == "ModelNotFoundError"
    assert "could not be fetched" in answer["message"]
    assert "HF_ENDPOINT" in answer["hint"]


def test_offline_and_nothing_in_the_cache(tmp_path: Path) -> None:
    answer = resolve("http://127.0.0.1:9", tmp_path, offline=True, sockets=False)
    assert answer["error"] == "ModelNotFoundError"
    assert "offline" in answer["message"]
    assert "HF_HUB_OFFLINE" in answer["hint"]


def test_a_file_sent_in_halves_is_put_together(hub: Hub, tmp_path: Path) -> None:
    hub.drop_after, hub.drops_left = len(WEIGHTS) // 2, 1
    folder = Path(resolve(hub.url, tmp_path)["folder"])
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.drops_left == 0


def test_changed_bytes_are_noticed_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.corrupt = True
    answer = resolve(hub.url, tmp_path)
    assert answer["error"] == "CheckpointError"
    assert "does not match its published hash" in answer["message"]


def test_only_pickled_weights(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    answer = resolve(hub.url, tmp_path)
    assert answer["error"] == "CheckpointError"
    assert "no safetensors" in answer["message"]
    assert "convert" in answer["hint"]


def test_a_cache_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    answer = resolve(hub.url, blocked)
    assert answer["error"] == "ModelError"
    assert "HF_HUB_CACHE" in answer["hint"]
