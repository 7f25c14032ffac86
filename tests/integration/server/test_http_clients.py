"""The wire as clients and proxies use it, byte for byte."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from collections.abc import Callable

from server_process import KEY, MODEL_NAME, RunningServer

from tests.waiting import PATIENCE_S

StartServer = Callable[..., RunningServer]
BODY = json.dumps({"model": MODEL_NAME, "prompt": "Hello", "max_tokens": 2}).encode()
HOST = "Host: localhost"
AUTH = f"Authorization: Bearer {KEY}"


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, AUTH, *headers, "", ""]).encode()


def exchange(server: RunningServer, *parts: bytes) -> bytes:
    """Sends the parts, and returns all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), 60) as sock:
        received = b""
        for part in parts[:-1]:
            sock.sendall(part)
            received += sock.recv(65536)
        sock.sendall(parts[-1])
        while chunk := sock.recv(65536):
            received += chunk
        return received


def test_http_1_0(server: RunningServer) -> None:
    line, length = "POST /v1/completions HTTP/1.0", f"Content-Length: {len(BODY)}"
    answer = exchange(server, head(line, length) + BODY)
    assert b" 200 " in answer[:20]
    assert b'"usage"' in answer
    stream = BODY[:-1] + b', "stream": true}'
    answer = exchange(server, head(line, f"Content-Length: {len(stream)}") + stream)
    assert b"transfer-encoding" not in answer.lower()
    assert answer.endswith(b"data: [DONE]\n\n")


def test_a_body_in_chunks(server: RunningServer) -> None:
    content = gzip.compress(BODY)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (content[:9], content[9:]))
    start = head(
        "POST /v1/completions HTTP/1.1",
        HOST,
        "Transfer-Encoding: chunked",
        "Content-Encoding: gzip",
        "Connection: close",
    )
    assert b" 200 " in exchange(server, start + chunks + b"0\r\n\r\n")[:20]


def test_a_client_that_waits_for_100_continue(server: RunningServer) -> None:
    start = head(
        "POST /v1/completions HTTP/1.1",
        HOST,
        f"Content-Length: {len(BODY)}",
        "Expect: 100-continue",
        "Connection: close",
    )
    answer = exchange(server, start, BODY)
    assert answer.startswith(b"HTTP/1.1 100 ")
    assert b'"usage"' in answer


def test_what_is_no_http_has_an_id_too(server: RunningServer) -> None:
    answer = exchange(server, b"GET / HTTP/1.1\r\nno header\r\n\r\n")
    assert b" 400 " in answer[:20]
    assert b"x-request-id: " in answer.lower()


def test_head_has_no_body(server: RunningServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    for path in ("/health", "/v1/models"):
        connection.request("HEAD", path, headers={"Authorization": f"Bearer {KEY}"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
        assert int(response.headers["content-length"]) > 0
    connection.close()


def test_an_idle_connection_stays_open_as_long_as_it_is_said(own_server: StartServer) -> None:
    server = own_server(keep_alive_s=1.0)
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as sock:
        began_s = time.monotonic()
        sock.sendall(head("GET /health HTTP/1.1", HOST))
        answer = b""
        while not answer.endswith(b"}"):
            answer += sock.recv(65536)
        assert sock.recv(1) == b""
        assert time.monotonic() - began_s >= 1.0  # no machine is too slow for that
