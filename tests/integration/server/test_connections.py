"""Every connection has an end, whatever state it is in, and a full house lets new clients in."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from server_process import KEY, MODEL_NAME, RunningServer

from tests.waiting import PATIENCE_S

StartServer = Callable[..., RunningServer]
HOST = b"Host: x\r\n"
KEY_LINE = f"Authorization: Bearer {KEY}\r\n".encode()
HEALTH = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
ANSWER = json.dumps({"model": MODEL_NAME, "prompt": "a", "max_tokens": 5}).encode()
POST = b"POST /v1/completions HTTP/1.1\r\n" + HOST + KEY_LINE


@pytest.fixture(scope="module")
def hasty(
    model_folder: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server with little patience."""
    from server_process import start_server

    limits = {"header_timeout_s": 1.0, "body_timeout_s": 1.0, "write_timeout_s": 2.0}
    log = tmp_path_factory.mktemp("log") / "server.log"
    server = start_server(model_folder, log, limits=limits, keep_alive_s=2)  # type: ignore[arg-type]
    yield server
    server.stop()
    assert "Traceback" not in log.read_text()


def connect(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)


def read_to_end(sock: socket.socket, drip: bytes) -> bytes:
    """Bytes received until the server ends the connection, though a byte now and then is sent."""
    received = b""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(ConnectionError):
            if drip:
                sock.sendall(drip)
        if not select.select([sock], [], [], 0.2)[0]:
            continue
        try:
            data = sock.recv(65536)
        except ConnectionError:
            return received
        if not data:
            return received
        received += data
    raise AssertionError("the connection is still open")


@pytest.mark.parametrize(
    ("sent", "drip", "answers"),
    [
        pytest.param(b"", b"", 0, id="silence"),
        pytest.param(b"GET /health HTTP/1.1\r\n", b"A: b\r\n", 0, id="headers without an end"),
        pytest.param(HEALTH, b"", 1, id="no next request"),
        pytest.param(
            HEALTH + b"GET /health HTTP/1.1\r\n", b"A: b\r\n", 1, id="half a next request"
        ),
        pytest.param(HEALTH * 20 + b"GET", b"", 20, id="pipelined, then silence"),
        pytest.param(
            HEALTH[:-2] + b"Content-Length: 1000000\r\n\r\n", b"x", 1, id="a body after the answer"
        ),
        pytest.param(
            HEALTH[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 1, id="chunks after"
        ),
        pytest.param(
            HEALTH[:-2] + b"Transfer-Encoding: chunked\r\n\r\n1", b"0", 1, id="half a chunk's size"
        ),
        pytest.param(
            b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n",
            b"x",
            1,
            id="a body after a refusal",
        ),
        pytest.param(POST + b"Content-Length: 1000\r\n\r\n", b" ", 1, id="a body without an end"),
        pytest.param(
            POST + b"Expect: 100-continue\r\nContent-Length: 99\r\n\r\n", b"", 2, id="expect"
        ),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"x", 1, id="no chunk"),
        pytest.param(b"BREW / HTTP/9\r\n\r\n", b"x", 1, id="no HTTP, more of it"),
    ],
)
def test_no_connection_is_without_end(
    hasty: RunningServer, sent: bytes, drip: bytes, answers: int
) -> None:
    with connect(hasty) as sock:
        sock.sendall(sent)
        received = read_to_end(sock, drip)
    assert received.count(b"HTTP/1.1 ") == answers


def test_one_that_closes_its_half_is_let_go(hasty: RunningServer) -> None:
    with connect(hasty) as sock:
        sock.sendall(POST + b"Content-Length: 5\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock, b"") == b""


def test_a_slow_answer_is_not_cut_off(own_server: StartServer) -> None:
    server = own_server(limits={"header_timeout_s": 1.0, "body_timeout_s": 1.0})
    engine = server.engine_pid()
    os.kill(engine, signal.SIGSTOP)
    with connect(server) as sock:
        sock.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
        assert not select.select([sock], [], [], 4.0)[0], "it was answered or cut off"
        os.kill(engine, signal.SIGCONT)
        assert b"200 OK" in sock.recv(65536)


def answer(sock: socket.socket) -> bytes:
    """One whole response of a few bytes."""
    received = b""
    while not received.endswith(b"}"):
        data = sock.recv(65536)
        assert data, received
        received += data
    return received


def ask(sock: socket.socket) -> bytes:
    sock.sendall(HEALTH)
    return answer(sock)


def test_the_longest_idle_gives_way(own_server: StartServer) -> None:
    server = own_server(limits={"connections": 3})
    with contextlib.ExitStack() as stack:
        first, second, third, newcomer = (stack.enter_context(socket.socket()) for _ in range(4))
        for sock in (first, second, third, first):
            with contextlib.suppress(OSError):
                sock.connect(("127.0.0.1", server.port))
            assert ask(sock).startswith(b"HTTP/1.1 200")
        newcomer.connect(("127.0.0.1", server.port))
        assert ask(newcomer).startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError):
            assert second.recv(65536) == b""
        for sock in (third, first):
            assert ask(sock).startswith(b"HTTP/1.1 200")


def test_a_house_full_of_requests_says_so(own_server: StartServer) -> None:
    server = own_server(limits={"connections": 3})
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(connect(server)) for _ in range(3)]
        for sock in busy:
            sock.sendall(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(ANSWER))
            assert b"100" in sock.recv(65536)  # its request is being read
        received = read_to_end(stack.enter_context(connect(server)), b"")
        assert received.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in received
        for sock in busy:
            sock.sendall(ANSWER)
            assert answer(sock).startswith(b"HTTP/1.1 200")
