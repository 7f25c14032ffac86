"""Hubs and mirrors that lie: nothing is written outside the cache, nothing goes on for ever, and no
other host sees the token."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from unisono.core.errors import CheckpointError, ConfigError, ModelError, UnisonoError
from unisono.hub import http, resolve_model, transfer

COMMIT = "a" * 40
WEIGHTS = bytes(range(256)) * 800
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
CONFIG = b'{"model_type": "llama"}'
BLOB = hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG, usedforsecurity=False).hexdigest()
_MAX_REQUESTS = 60


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False
    """Sent without a length."""


def as_json(value: Any, **headers: str) -> Answer:
    return Answer(json.dumps(value).encode(), headers=headers)


def honest(path: str, offset: int) -> Answer:
    """Answers of both hubs."""
    if path.startswith("/api/models/o/m/revision/"):
        return as_json({"id": "o/m", "sha": COMMIT})
    if "/tree/" in path:
        own = {"type": "file", "path": "config.json", "size": len(CONFIG), "oid": BLOB}
        large = {"oid": SHA256, "size": len(WEIGHTS), "pointerSize": 130}
        weights = {"type": "file", "path": "model.safetensors", "size": 130, "oid": "b" * 40}
        return as_json([own, {"type": "directory", "path": "x"}, {**weights, "lfs": large}])
    if path.endswith("/repo/files"):
        own = {"Path": "config.json", "Type": "blob", "Size": len(CONFIG), "Sha256": ""}
        large = {"Path": "model.safetensors", "Size": len(WEIGHTS), "Sha256": SHA256}
        return as_json({"Success": True, "Data": {"Files": [own, large]}})
    content = WEIGHTS if "safetensors" in path else CONFIG
    if not offset:
        return Answer(content)
    content_range = f"bytes {offset}-{len(content) - 1}/{len(content)}"
    return Answer(content[offset:], 206, {"Content-Range": content_range})


Behaviour = Callable[[str, int], Answer]


@dataclass
class Hub:
    behave: Behaviour = honest
    url: str = ""
    root: Path = Path()
    requests: list[str] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    """Host and what was shown to it."""

    def answers(self, start: str, answer: Answer | Behaviour) -> None:
        """From now on to requests whose path has ``start`` in it."""
        before = self.behave

        def behave(path: str, offset: int) -> Answer:
            if start not in path:
                return before(path, offset)
            return answer if isinstance(answer, Answer) else answer(path, offset)

        self.behave = behave


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.hub.requests.append(self.path)
        shown = self.headers.get("Authorization", "") + self.headers.get("Cookie", "")
        self.hub.tokens.append((self.headers["Host"].partition(":")[0], shown))
        if len(self.hub.requests) > _MAX_REQUESTS:
            self.close_connection = True
            return
        path, _, query = self.path.partition("?")
        offset = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        name = query.partition("FilePath=")[2]
        answer = self.hub.behave(f"{path}/{name}" if name else path, offset)
        self.send_response(answer.status)
        length = {} if answer.chunked else {"Content-Length": str(len(answer.body))}
        for key, value in {**length, **answer.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = True


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub(root=tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "ENDPOINT": state.url,
        "HF_HUB_CACHE": str(tmp_path / "cache" / "hf"),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    for name, value in {
        "HF_TOKEN": "hf_secret",
        "MODELSCOPE_ENDPOINT": state.url,
        "MODELSCOPE_CACHE": str(tmp_path / "cache" / "ms"),
        "MODELSCOPE_API_TOKEN": "ms_secret",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "UNISONO_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


HUBS = pytest.mark.parametrize("name", ["o/m", "modelscope:o/m"])


def refused(hub: Hub, name: str, *words: str, error: type[UnisonoError] = UnisonoError) -> None:
    """It is, in few requests, and nothing is left outside the cache nor any weights in it."""
    with pytest.raises(error) as caught:
        resolve_model(name, progress=False)
    assert len(str(caught.value)) < 800
    assert all(word in str(caught.value) for word in words), caught.value
    assert len(hub.requests) < _MAX_REQUESTS
    assert {path.name for path in hub.root.iterdir()} <= {"cache"}
    published = [path for path in hub.root.rglob("*.safetensors") if path.is_file()]
    assert published == []
    assert all(path.is_dir() or path.stat().st_size < 10**6 for path in hub.root.rglob("*"))


@HUBS
def test_an_honest_hub(hub: Hub, name: str) -> None:
    folder = resolve_model(name, progress=False)
    assert (folder / "config.json").read_bytes() == CONFIG
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_other_programs_find_what_came(hub: Hub) -> None:
    from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

    folder = resolve_model("o/m", progress=False)
    cache = constants.HF_HUB_CACHE
    found = snapshot_download("o/m", local_files_only=True, cache_dir=cache)
    assert Path(found) == folder
    assert try_to_load_from_cache("o/m", "config.json", cache) == str(folder / "config.json")
    (repo,) = scan_cache_dir(cache).repos
    assert (repo.repo_id, repo.size_on_disk) == ("o/m", len(WEIGHTS) + len(CONFIG))


# -- names --------------------------------------------------------------------------------------

NAMES = [
    "../../x",
    "/tmp/x",
    "..\\..\\x",
    "x\0y",
    "C:\\x",
    "~/x",
    "%2e%2e/x",
    "A" * 40,
    "",
    None,
    7,
]


@pytest.mark.parametrize("commit", NAMES, ids=repr)
def test_a_commit_is_a_hash(hub: Hub, commit: Any) -> None:
    hub.answers("/revision/", as_json({"id": "o/m", "sha": commit}))
    refused(hub, "o/m", "does not answer like the Hugging Face hub", error=ModelError)


@pytest.mark.parametrize("header", ["ETag", "X-Linked-ETag", "X-Repo-Commit", "X-Linked-Size"])
@pytest.mark.parametrize("value", ["../../../x", "/tmp/x", "..\\x", "-1", "9" * 30])
def test_headers_are_no_names(hub: Hub, header: str, value: str) -> None:
    before = hub.behave

    def behave(path: str, offset: int) -> Answer:
        answer = before(path, offset)
        return Answer(answer.body, answer.status, {**answer.headers, header: value})

    hub.behave = behave
    folder = resolve_model("o/m", progress=False)
    assert folder == hub.root / "cache/hf/models--o--m/snapshots" / COMMIT
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert {path.name for path in hub.root.iterdir()} == {"cache"}


@pytest.mark.parametrize("digest", [name for name in NAMES if name is not None], ids=repr)
def test_a_blob_is_named_by_a_hash(hub: Hub, digest: Any) -> None:
    for listed in (
        {"type": "file", "path": "config.json", "size": 2, "oid": digest},
        {"type": "file", "path": "model.safetensors", "lfs": {"oid": digest, "size": 2}},
    ):
        weights = {"type": "file", "path": "a.safetensors", "size": 2, "oid": BLOB}
        hub.answers("/tree/", as_json([weights, listed]))
        if digest != "A" * 40:
            refused(hub, "o/m", "hash", error=CheckpointError)


LISTED = ["../../x.safetensors", "/tmp/x.safetensors", "..\\x.safetensors", "C:x.safetensors", None]


@HUBS
@pytest.mark.parametrize("path", LISTED, ids=repr)
def test_a_listed_name_stays_inside(hub: Hub, name: str, path: Any) -> None:
    good = {"type": "file", "path": "a.safetensors", "size": 2, "oid": BLOB}
    hub.answers("/tree/", as_json([good, {**good, "path": path}]))
    good = {"Path": "a.safetensors", "Size": 2, "Sha256": SHA256}
    hub.answers("/repo/files", as_json({"Data": {"Files": [good, {**good, "Path": path}]}}))
    refused(hub, name, "lists a file", error=CheckpointError)


@pytest.mark.parametrize("revision", ["../x", "/x", "a\\b", "a\0b", "a/../../../b"])
def test_a_revision_stays_inside(hub: Hub, revision: str) -> None:
    with pytest.raises(ConfigError, match="is no revision"):
        resolve_model("o/m", revision=revision)
    assert hub.requests == []


# -- sizes --------------------------------------------------------------------------------------


@HUBS
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("extra", [1, 10**6])
def test_more_than_was_announced(hub: Hub, name: str, chunked: bool, extra: int) -> None:
    hub.answers("safetensors", Answer(WEIGHTS + b"x" * extra, chunked=chunked))
    refused(hub, name, f"{len(WEIGHTS)} bytes that it announced", error=CheckpointError)


@HUBS
@pytest.mark.parametrize("sent", [0, 1, 1000])
def test_less_than_was_announced_again_and_again(hub: Hub, name: str, sent: int) -> None:
    hub.answers("safetensors", lambda path, offset: Answer(WEIGHTS[:sent], chunked=True))
    refused(hub, name, "stopped", error=ModelError)


@HUBS
def test_the_same_piece_again_and_again(hub: Hub, name: str) -> None:
    def behave(path: str, offset: int) -> Answer:
        if offset:
            return Answer(status=416)
        return Answer(WEIGHTS[:150_000], chunked=True)

    hub.answers("safetensors", behave)
    refused(hub, name, "stopped", error=ModelError)


@HUBS
@pytest.mark.parametrize("size", [-1, 1 << 62, 10**30, "12", None, True, 2.5], ids=repr)
def test_sizes_that_are_none(hub: Hub, name: str, size: Any) -> None:
    listed = {"type": "file", "path": "a.safetensors", "size": size, "oid": BLOB}
    hub.answers("/tree/", as_json([listed]))
    listed = {"Path": "a.safetensors", "Size": size, "Sha256": SHA256}
    hub.answers("/repo/files", as_json({"Data": {"Files": [listed]}}))
    refused(hub, name, "size", error=CheckpointError)


@HUBS
@pytest.mark.parametrize(
    "content_range",
    ["", "bytes 0-9/10", "bytes 5-9/10", "bytes */10", "items 1-2/3", "bytes 1-2/99999999"],
)
def test_a_part_that_is_another(hub: Hub, name: str, content_range: str) -> None:
    def behave(path: str, offset: int) -> Answer:
        if not offset:
            return Answer(WEIGHTS[:100_000], chunked=True)
        return Answer(WEIGHTS[offset:], 206, {"Content-Range": content_range})

    hub.answers("safetensors", behave)
    refused(hub, name, "not what follows byte", error=ModelError)


@HUBS
def test_other_bytes(hub: Hub, name: str) -> None:
    hub.answers("safetensors", Answer(b"x" * len(WEIGHTS)))
    refused(hub, name, "does not match its published hash", error=CheckpointError)


@HUBS
def test_an_encoding_that_was_not_asked_for(hub: Hub, name: str) -> None:
    hub.answers("safetensors", Answer(WEIGHTS, headers={"Content-Encoding": "gzip"}))
    refused(hub, name, "another encoding", error=ModelError)


# -- answers without end ------------------------------------------------------------------------


@HUBS
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[" * 10**6, b"[7]", b'{"Data": {"Files": [7]}}', b"null"),
        *(b'{"Success": true, "Data": 7}', b'[{"path": "\\ud800.safetensors"}]', b"\xff"),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_listings_that_are_none(hub: Hub, name: str, body: bytes) -> None:
    for path in ("/tree/", "/repo/files"):
        hub.answers(path, Answer(body))
    refused(hub, name, "answer like", error=ModelError)


@HUBS
def test_a_listing_that_is_too_long(hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from unisono.hub import huggingface_api, modelscope

    monkeypatch.setattr(huggingface_api, "_MAX_ANSWER_BYTES", 10_000)
    monkeypatch.setattr(modelscope, "_MAX_LISTING_BYTES", 10_000)
    for path in ("/tree/", "/repo/files"):
        hub.answers(path, Answer(b" " * 10_001, chunked=True))
    refused(hub, name, "answer like", error=ModelError)


def test_a_listing_that_never_ends(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from unisono.hub import huggingface_api

    monkeypatch.setattr(huggingface_api, "_MAX_PAGES", 5)
    again = f'<{hub.url}/api/models/o/m/tree/{COMMIT}?cursor=x>; rel="next"'
    hub.answers("/tree/", as_json([], Link=again))
    refused(hub, "o/m", "more than 5 pages", error=ModelError)


@pytest.mark.parametrize(
    "following", ["https://elsewhere.example/x", "http://localhost:9/x", "ftp://x/y", "//[x"]
)
def test_a_listing_that_goes_on_elsewhere(hub: Hub, following: str) -> None:
    hub.answers("/tree/", as_json([], Link=f'<{following}>; rel="next"'))
    refused(hub, "o/m", error=ModelError)
    assert len(hub.requests) == 2


def test_a_listing_in_pages(hub: Hub) -> None:
    following = f'<{hub.url}/api/models/o/m/more>; rel="next"'
    whole = json.loads(hub.behave("/tree/", 0).body)
    hub.answers("/tree/", as_json(whole[:1], Link=following))
    hub.answers("/more", as_json(whole[1:]))
    folder = resolve_model("o/m", progress=False)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


# -- where it leads -----------------------------------------------------------------------------


@HUBS
@pytest.mark.parametrize("paths", [("/revision/", "/repo/files"), ("model.safetensors",)])
def test_redirects_without_end(hub: Hub, name: str, paths: tuple[str, ...]) -> None:
    hub.answers("/again", Answer(status=307, headers={"Location": "?more"}))
    for path in paths:
        hub.answers(path, Answer(status=302, headers={"Location": "/again"}))
    refused(hub, name, "redirects more than 10 times", error=ModelError)


@HUBS
@pytest.mark.parametrize(
    "location",
    [
        *("http://mirror.example/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "https://[x"),
        *("data:,x", "https://user:word@mirror.example/", "http://10.0.0.1/latest/meta-data"),
    ],
)
def test_redirects_that_are_not_followed(hub: Hub, name: str, location: str) -> None:
    hub.answers("safetensors", Answer(status=302, headers={"Location": location}))
    refused(hub, name, "refused to follow", error=ModelError)


def test_a_redirect_stays_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_response", lambda request: "http://127.0.0.1/x")
    monkeypatch.setenv("UNISONO_ALLOW_HTTP", "1")
    with pytest.raises(http.TransferError, match="from https to http"):
        http.open_url("https://mirror.example/x", {})


@HUBS
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_other_host_sees_the_token(hub: Hub, name: str, status: int) -> None:
    elsewhere = hub.url.replace("127.0.0.1", "localhost")
    moved = Answer(status=status, headers={"Location": f"{elsewhere}/cdn/weights"})
    hub.answers("model.safetensors", moved)
    hub.answers("/cdn/", Answer(WEIGHTS))
    resolve_model(name, progress=False)
    assert {shown for host, shown in hub.tokens if host == "localhost"} == {""}
    assert all("secret" in shown for host, shown in hub.tokens if host == "127.0.0.1")


def test_a_renamed_repository_sees_the_token_again(hub: Hub) -> None:
    to = {"Location": f"/api/models/new/m/tree/{COMMIT}"}
    hub.answers("/models/o/m/tree/", Answer(status=307, headers=to))
    resolve_model("o/m", progress=False)
    assert any("/new/m/" in path for path in hub.requests)
    assert all("secret" in shown for _, shown in hub.tokens)


@HUBS
def test_plain_http_takes_a_word(hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://mirror.invalid")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://mirror.invalid")
    refused(hub, name, "plain http", "UNISONO_ALLOW_HTTP=1", error=ConfigError)
    monkeypatch.setenv("UNISONO_ALLOW_HTTP", "1")
    refused(hub, name, "network", error=ModelError)
