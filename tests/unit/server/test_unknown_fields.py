from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

MakeClient = Callable[..., httpx.AsyncClient]
MESSAGE = {"role": "user", "content": [{"type": "text", "text": "a", "colour": {}}]}
BODY = {
    "max_tokens": 1,
    "surprise": 1,
    "stream": True,
    "stream_options": {"odd": True},
    "messages": [{**MESSAGE, "mood": "?"}],
}


def ignored(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "Ignored fields" in r.getMessage()]


async def test_unknown_fields_are_ignored_and_named_once(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="unisono")
    for _ in range(3):
        response = await client.post("/v1/chat/completions", json=BODY)
        assert response.status_code == 200, response.text
    text = "".join(ignored(caplog))
    for name in ("surprise", "stream_options.odd", "messages[].mood"):
        assert text.count(name) == 1
    assert text.count("messages[].content[].colour") == 1
    num_lines = len(ignored(caplog))
    await client.post("/v1/chat/completions", json={**BODY, "another": 1})
    (line,) = ignored(caplog)[num_lines:]
    assert "another" in line
    assert "surprise" not in line


async def test_a_strict_server_refuses_them_by_name(make_client: MakeClient) -> None:
    async with make_client(strict=True) as client:
        places = {
            "surprise": {"messages": [{"role": "user", "content": "a"}], "surprise": 1},
            "messages[0].content[0].colour": {"messages": [MESSAGE]},
        }
        for place, body in places.items():
            response = await client.post("/v1/chat/completions", json=body)
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (400, "unknown_field")
            assert error["param"] == place
            assert place in error["message"]


async def test_a_client_cannot_fill_or_forge_the_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="unisono")
    odd: dict[str, Any] = {"a\nforged line": 1, "b\x1b[31m": 1, "c" * 5000: 1, "ünï": 1}
    for start in range(0, 3000, 500):
        many = {f"field{i}": i for i in range(start, start + 500)}
        body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, **odd, **many}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    text = "".join(ignored(caplog))
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 300 * 70
