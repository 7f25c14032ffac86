"""A client that leaves, at whatever moment: no error in the log, no response, one counter."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from server_fakes import KEY, LocalHost

from tests.waiting import PATIENCE_S, becomes
from unisono.server.app import create_app
from unisono.server.settings import ServerSettings
from unisono.text import Tokenizer

Settings = Callable[..., ServerSettings]


class Client:
    """Sends one request to an application, and leaves when it is told to."""

    def __init__(self, path: str, body: bytes, *, num_parts: int = 1) -> None:
        self.sent: list[dict[str, Any]] = []
        self.has_left = asyncio.Event()
        size = -(-len(body) // num_parts)
        self._parts = [body[at : at + size] for at in range(0, len(body), size)]
        self.num_missing = 0
        headers = [(b"authorization", b"Bearer " + KEY.encode())]
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [*headers, (b"content-type", b"application/json")],
        }

    async def receive(self) -> dict[str, Any]:
        if len(self._parts) > self.num_missing:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        await asyncio.sleep(0)


async def answered(app: Any, client: Client, when: Callable[[], bool]) -> None:
    answering = asyncio.create_task(app(client.scope, client.receive, client.send))
    await becomes(lambda: when() or answering.done())
    assert not answering.done()
    client.has_left.set()
    await asyncio.wait_for(answering, PATIENCE_S)


def completion(**fields: Any) -> bytes:
    return json.dumps({"model": "echo", "prompt": "ab", "max_tokens": 200, **fields}).encode()


@pytest.fixture
def app(settings: Settings, host: LocalHost, tokenizer: Tokenizer) -> Any:
    return create_app(settings(), host, tokenizer)


@pytest.fixture
def is_no_error(app: Any, host: LocalHost, caplog: pytest.LogCaptureFixture) -> Any:
    """To be called at the end: nothing of it shows but one count."""
    caplog.set_level(logging.DEBUG)

    def check() -> None:
        assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
        text = app.state.service.metrics.render().decode()
        assert "unisono_client_disconnects_total 1.0" in text
        assert "unisono_http_responses_total{" not in text
        assert not host.engine.has_work
        assert app.state.service.gate.num_inside == 0

    return check


async def test_in_the_middle_of_the_body(app: Any, is_no_error: Callable[[], None]) -> None:
    client = Client("/v1/completions", completion(), num_parts=3)
    client.num_missing = 1
    await answered(app, client, lambda: len(client._parts) == 1)
    assert client.sent == []
    is_no_error()


@pytest.mark.parametrize("stream", [True, False])
async def test_before_the_first_token(
    app: Any, host: LocalHost, is_no_error: Callable[[], None], stream: bool
) -> None:
    host.delay_s = 0.2
    client = Client("/v1/completions", completion(stream=stream))
    await answered(app, client, lambda: bool(host.routes))
    assert client.sent == []
    assert host.engine.aborted
    is_no_error()


@pytest.mark.parametrize("stream", [True, False])
async def test_in_the_middle_of_the_answer(
    app: Any, host: LocalHost, is_no_error: Callable[[], None], stream: bool
) -> None:
    host.delay_s = 0.01
    client = Client("/v1/completions", completion(stream=stream))
    await answered(app, client, lambda: any(n > 3 for _, n in host.engine._running.values()))
    assert bool(client.sent) == stream
    is_no_error()
    assert 'reason="disconnect"} 1.0' in app.state.service.metrics.render().decode()


@pytest.mark.parametrize("kind", ["chat/completions", "completions"])
async def test_while_its_prompt_is_tokenized(
    app: Any,
    host: LocalHost,
    is_no_error: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    begun = False

    async def wait(*args: Any, **options: Any) -> None:
        nonlocal begun
        begun = True
        await asyncio.Event().wait()

    monkeypatch.setattr(app.state.service.encoder, "in_thread", wait)
    fields = {"messages": [{"role": "user", "content": "a"}], "prompt": "x" * 5000}
    if kind == "completions":
        del fields["messages"]
    else:
        del fields["prompt"]
    body = json.dumps({"model": "echo", **fields}).encode()
    await answered(app, Client(f"/v1/{kind}", body), lambda: begun)
    assert not host.requests
    is_no_error()


async def test_while_it_waits_for_an_engine(
    app: Any, host: LocalHost, is_no_error: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = False

    async def wait(requests: Any) -> Awaitable[None]:
        nonlocal begun
        begun = True
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(host, "submit", wait)
    await answered(app, Client("/v1/completions", completion()), lambda: begun)
    is_no_error()


async def test_one_that_stays_is_not_counted(app: Any) -> None:
    client = Client("/v1/completions", completion(max_tokens=2))
    answering = asyncio.create_task(app(client.scope, client.receive, client.send))
    await becomes(lambda: len(client.sent) == 2)
    client.has_left.set()
    await answering
    text = app.state.service.metrics.render().decode()
    assert "unisono_client_disconnects_total 0.0" in text
    assert 'unisono_http_responses_total{status="2xx"} 1.0' in text
