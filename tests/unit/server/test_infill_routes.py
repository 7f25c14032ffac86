"""Filling in between two texts, by both APIs that have it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from echo_client import echo_client
from server_fakes import LocalHost
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from tests.byte_tokenizer import write_byte_tokenizer
from unisono.server.settings import ServerSettings
from unisono.text import Tokenizer

MARKS = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_byte_tokenizer(folder, "{{ messages[0].content }}")
    path = str(folder / "tokenizer.json")
    backend = Backend.from_file(path)
    backend.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    backend.save(path)
    return Tokenizer.load(folder)


@pytest.fixture
async def client(
    host: LocalHost, tokenizer: Tokenizer, settings: Callable[..., ServerSettings]
) -> AsyncIterator[httpx.AsyncClient]:
    async with echo_client(host, tokenizer, settings) as found:
        yield found


async def test_a_suffix(client: httpx.AsyncClient, host: LocalHost, tokenizer: Tokenizer) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/v1/completions": {"prompt": "a(", "suffix": ")z"},
        "/api/generate": {"prompt": "a(", "suffix": ")z", "stream": False},
    }
    for path, body in bodies.items():
        answer = await client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        asked = host.requests[-1]
        said = tokenizer.decode(asked.prompt_token_ids, skip_special_tokens=False)
        assert said == "<fim_prefix>a(<fim_suffix>)z<fim_middle>"
        assert {tokenizer.token_id(mark) for mark in MARKS} <= set(asked.params.stop_token_ids)
    shown = (await client.post("/api/show", json={})).json()
    assert "insert" in shown["capabilities"]


@pytest.mark.parametrize(
    "fields",
    [{"prompt": [5]}, {"echo": True}, {"truncate_prompt_tokens": 5}, {"suffix": "a" * 300}],
)
async def test_what_does_not_go_with_it(client: httpx.AsyncClient, fields: Any) -> None:
    answer = await client.post("/v1/completions", json={"prompt": "a", "suffix": "b", **fields})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in ("suffix", "prompt")
