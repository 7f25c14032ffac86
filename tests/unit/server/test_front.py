"""HTTP as clients and proxies speak it: paths, methods, headers, encodings."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from server_fakes import KEY, LocalHost

from unisono.core.errors import RequestFailedError
from unisono.server import Limits
from unisono.server.http.front import route_path
from unisono.server.run import ready_line

MakeClient = Callable[..., httpx.AsyncClient]
BODY = json.dumps({"prompt": "Hello", "max_tokens": 1}).encode()


def gzipped(content: bytes) -> bytes:
    """The same bytes at any time: they name tests."""
    return gzip.compress(content, mtime=0)


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/v1/models", "/v1/models"),
        ("/v1/models/", "/v1/models"),
        ("//v1//models", "/v1/models"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/v1/models", "/v1/models"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/completions/", "/v1/completions"),
        ("/models/org/name", "/v1/models/org/name"),
        ("/v1/models/v1", "/v1/models/v1"),
        ("/v1/health", "/health"),
        ("/v1/tokenize", "/tokenize"),
        ("/health/", "/health"),
        ("/", "/"),
        ("/v1", "/v1"),
        ("/v1/v1", "/v1"),
        ("/v2/models", "/v2/models"),
        ("/healthy", "/healthy"),
        ("/modelsx", "/modelsx"),
    ],
)
def test_paths(given: str, path: str) -> None:
    assert route_path(given) == path


async def test_a_path_in_another_form_needs_the_same_key(make_client: MakeClient) -> None:
    async with make_client(key=None) as client:
        for path in ("/v1/models/", "//v1/models", "/models", "/v1/v1/models", "/health/../v1"):
            assert (await client.get(path)).status_code == 401
        assert (await client.get("/v1/health/")).status_code == 200


async def test_all_forms_of_a_path_are_answered(client: httpx.AsyncClient) -> None:
    for path in ("/completions", "/v1/completions/", "/v1/v1/completions", "//v1/completions"):
        response = await client.post(path, content=BODY, headers=JSON)
        assert response.status_code == 200, path
    for path in ("/models/", "/v1/models/echo", "/models/echo/"):
        assert (await client.get(path)).status_code == 200, path
    response = await client.post("/v1/edits", content=BODY)
    assert response.status_code == 404
    assert "/v1/chat/completions" in response.json()["error"]["message"]


async def test_head_is_where_get_is(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/v1/models", "/v1/models/echo", "/metrics", "/openapi.json"):
        whole, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
        if path.startswith("/v1"):
            assert head.headers["content-length"] == whole.headers["content-length"]
    refused = await client.head("/v1/completions")
    assert (refused.status_code, refused.headers["allow"], refused.content) == (405, "POST", b"")


async def test_every_response_has_an_id(client: httpx.AsyncClient, host: LocalHost) -> None:
    ids = []
    stream = {"prompt": "a", "max_tokens": 2, "stream": True}
    for response in (
        await client.get("/health"),
        await client.get("/nothing"),
        await client.post("/v1/completions", content=b"{"),
        await client.post("/v1/completions", json=stream),
        await client.get("/v1/models", headers={"authorization": "Bearer wrong"}),
        await client.get("/health", headers={"x": "y" * 20_000}),
    ):
        ids.append(response.headers["x-request-id"])
    host.failure = RequestFailedError("No.")
    failed = await client.post("/v1/completions", content=BODY)
    ids.append(failed.headers["x-request-id"])
    assert failed.status_code == 500
    assert len(set(ids)) == len(ids)
    for given, is_kept in (("req-1/a.b", True), ("a b", False), ("x" * 200, False), ("", False)):
        response = await client.get("/health", headers={"x-request-id": given})
        assert (response.headers["x-request-id"] == given) is is_kept
        assert response.headers["x-request-id"]


async def test_three_headers_may_carry_the_key(make_client: MakeClient) -> None:
    async with make_client(key=None) as client:
        for name, value, status in (
            ("authorization", f"Bearer {KEY}", 200),
            ("authorization", f"bearer  {KEY} ", 200),
            ("x-api-key", KEY, 200),
            ("api-key", KEY, 200),
            ("x-api-key", "wrong", 401),
            ("api-key", "", 401),
            ("authorization", KEY, 401),
            ("authorization", f"Basic {KEY}", 401),
        ):
            response = await client.get("/v1/models", headers={name: value})
            assert response.status_code == status, (name, value)
        both = {"authorization": "Bearer wrong", "x-api-key": KEY}
        assert (await client.get("/v1/models", headers=both)).status_code == 401


async def test_the_key_says_who_asks_in_whichever_header(
    make_client: MakeClient, host: LocalHost
) -> None:
    async with make_client(key=None) as client:
        for header in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}, {"api-key": KEY}):
            await client.post("/v1/completions", content=BODY, headers=header)
    assert len({request.tenant for request in host.requests}) == 1


def raw_deflate(content: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(content) + deflate.flush()


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzipped(BODY)),
        ("GZIP", gzipped(BODY)),
        ("x-gzip", gzipped(BODY[:9]) + gzipped(BODY[9:])),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("identity", BODY),
        ("", BODY),
        ("identity", b"\xef\xbb\xbf" + BODY),
    ],
)
async def test_bodies_may_be_compressed(
    client: httpx.AsyncClient, encoding: str, content: bytes
) -> None:
    headers = {**JSON, "content-encoding": encoding}
    response = await client.post("/v1/completions", content=content, headers=headers)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("encoding", "content", "status"),
    [
        ("br", BODY, 415),
        ("zstd", BODY, 415),
        ("gzip, gzip", BODY, 415),
        ("gzip", BODY, 400),
        ("gzip", b"", 400),
        ("gzip", gzipped(BODY)[:-5], 400),
        ("gzip", gzipped(BODY) + b"rest", 400),
        ("deflate", zlib.compress(BODY)[:-6], 400),
        ("gzip", gzipped(b"") * 1000, 400),
        ("gzip", gzipped(b" " * 5000), 413),
        ("gzip", gzipped(b" " * 3000) * 3, 413),
        ("gzip", gzipped(b" " * 50_000_000), 413),
        ("deflate", raw_deflate(b" " * 1_000_000), 413),
    ],
)
async def test_compressed_bodies_that_are_refused(
    make_client: MakeClient, encoding: str, content: bytes, status: int
) -> None:
    async with make_client(limits=Limits(body_bytes=60_000 if len(content) > 5000 else 4096)) as c:
        headers = {**JSON, "content-encoding": encoding}
        response = await c.post("/v1/completions", content=content, headers=headers)
        assert response.status_code == status, response.text
        assert response.json()["error"]["message"]


async def test_a_model_card(make_client: MakeClient) -> None:
    async with make_client(model_root="org/real", model_aliases=("gpt-4o",)) as client:
        cards = (await client.get("/v1/models")).json()["data"]
        assert [(card["id"], card["root"]) for card in cards] == [
            ("echo", "org/real"),
            ("gpt-4o", "org/real"),
        ]
        (permission,) = cards[0]["permission"]
        assert permission["object"] == "model_permission"
        assert cards[0]["parent"] is None
        assert cards[0]["owned_by"]


def test_the_start_line_has_all_names(settings: Callable[..., Any]) -> None:
    line = ready_line(settings(model_aliases=("a", "org/b")), 81)
    assert line == "unisono serves echo, a, org/b on http://127.0.0.1:81"
