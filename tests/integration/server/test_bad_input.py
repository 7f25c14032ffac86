"""Whatever a client sends, it gets a clear error and the server goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_process import KEY, MODEL_NAME, RunningServer

from tests.waiting import PATIENCE_S, until

FOLDERS = (tempfile.gettempdir(), str(Path(__file__).parents[3]))
"""The places of models and of the program, which no client is told."""

JSON_HEADERS = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
def still_alive(server: RunningServer) -> Iterator[None]:
    pid = server.engine_pid()
    yield
    with server.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        body = {"model": MODEL_NAME, "prompt": "a", "max_tokens": 1}
        assert client.post("/v1/completions", json=body).status_code == 200
    assert server.engine_pid() == pid


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    for leak in ("Traceback", 'File "', "site-packages", *FOLDERS):
        assert leak not in response.text
    return error


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions", "/tokenize"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"not json at all",
        b"\xff\xfe\x00",
        b'{"model": "\xc3\x28"}',
        b'{"model": NaN}',
        b'{"model": 1e999}',
        b'{"model": "tiny", "model": "tiny"}',
        b"[" * 100_000,
        b'{"prompt": "\\udc00", "model": "tiny"}',
    ],
)
def test_bodies_that_are_no_request(client: httpx.Client, route: str, content: bytes) -> None:
    error_of(client.post(route, content=content, headers=JSON_HEADERS), 400)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [10**6]}, "prompt"),
        ({"prompt": [2**31]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a" * 5000}, "prompt"),
        ({"prompt": "a", "max_tokens": 100_000}, "max_tokens"),
        ({"prompt": "a", "logit_bias": {"999999": 1}}, "logit_bias"),
        ({"prompt": "a", "stop_token_ids": [999999]}, "stop_token_ids"),
        ({"prompt": "a", "temperature": 1e300}, "temperature"),
        ({"prompt": "a", "seed": 10**30}, "seed"),
        ({"prompt": "a", "n": 2**31}, "n"),
        ({"prompt": "a", "stop": [[]]}, "stop"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": "a", "max_tokens": None, "logprobs": 10**9}, "logprobs"),
        ({"prompt": "a", "allowed_token_ids": [999999]}, "allowed_token_ids"),
        ({"prompt": "a", "guided_regex": "("}, "guided_regex"),
        ({"prompt": "a", "guided_json": {"not": {}}}, "guided_json"),
        ({"prompt": "a", "regex": "a", "guided_choice": ["b"]}, ""),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
    ],
)
def test_fields_that_are_wrong(client: httpx.Client, fields: dict[str, Any], param: str) -> None:
    for stream in (False, True):
        body = {"model": MODEL_NAME, "stream": stream, **fields}
        error = error_of(client.post("/v1/completions", json=body), 400)
        assert (error["param"] or "").startswith(param)


def test_a_bad_request_leaves_the_others_alone(client: httpx.Client) -> None:
    good = {"model": MODEL_NAME, "prompt": "a", "max_tokens": 100, "stream": True, "seed": 1}
    with client.stream("POST", "/v1/completions", json=good) as response:
        lines = response.iter_lines()
        next(lines)
        bad = {"model": MODEL_NAME, "prompt": [10**6]}
        error_of(client.post("/v1/completions", json=bad), 400)
        assert [line for line in lines if line][-1] == "data: [DONE]"


def test_a_body_that_is_too_large(client: httpx.Client) -> None:
    body = json.dumps({"model": MODEL_NAME, "prompt": "a" * (9 << 20)}).encode()
    error_of(client.post("/v1/completions", content=body), 413)
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    with contextlib.suppress(httpx.WriteError):  # the server may close while we still write
        error_of(client.post("/v1/completions", content=pieces), 413)


def test_a_prompt_that_is_far_too_long(client: httpx.Client) -> None:
    body = {"model": MODEL_NAME, "prompt": "word " * (1 << 16)}
    error_of(client.post("/v1/completions", json=body), 400)


def raw(server: RunningServer, content: bytes, timeout_s: float = PATIENCE_S) -> bytes:
    """Sends bytes; returns all that comes until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout_s) as sock:
        sock.sendall(content)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
        return received


KEY_LINE = f"Authorization: Bearer {KEY}\r\n".encode()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/one\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000, 431),
        (b"GET /" + b"y" * 17_000, 431),
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
            + KEY_LINE
            + b"Content-Length: 9999999999999\r\n\r\n",
            413,
        ),
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
            + KEY_LINE
            + b"Content-Length: -5\r\n\r\n",
            400,
        ),
    ],
)
def test_bytes_that_are_no_http(server: RunningServer, content: bytes, status: int) -> None:
    head, _, body = raw(server, content).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status, head
    assert b"application/json" in head
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_slow_clients_are_let_go(own_server: Callable[..., RunningServer]) -> None:
    limits = {"header_timeout_s": 0.4, "body_timeout_s": 0.4}
    server = own_server(limits=limits)
    assert raw(server, b"") == b""
    assert raw(server, b"GET /health HTTP/1.1\r\nHost: x\r\n") == b""
    again = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HT"
    assert raw(server, again).startswith(b"HTTP/1.1 200")
    body = (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n" + KEY_LINE + b"\r\n{"
    )
    assert raw(server, body).startswith(b"HTTP/1.1 408")


def test_a_client_that_does_not_read_is_let_go(own_server: Callable[..., RunningServer]) -> None:
    server = own_server(limits={"write_timeout_s": 0.5})
    body = json.dumps(
        {
            "model": MODEL_NAME,
            "prompt": "a",
            "max_tokens": 400,
            "n": 32,
            "stream": True,
            "logprobs": 20,
            "ignore_eos": True,
        }
    ).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(head + KEY_LINE + b"\r\n" + body)
        with server.client() as client:
            until(lambda: 'reason="disconnect"' in client.get("/metrics").text)
