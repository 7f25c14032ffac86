"""The client of Ollama, over an engine that says what the prompt says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from echo_client import CALL, THOUGHT, thinking_tokenizer
from server_fakes import KEY, LocalHost

from unisono.server.app import create_app
from unisono.server.settings import ServerSettings
from unisono.text import Tokenizer

ollama = pytest.importorskip("ollama", reason="the client of Ollama is not installed")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return thinking_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
async def api(
    host: LocalHost, tokenizer: Tokenizer, settings: Callable[..., ServerSettings]
) -> AsyncIterator[Any]:
    transport = httpx.ASGITransport(create_app(settings(), host, tokenizer))
    headers = {"authorization": f"Bearer {KEY}"}
    async with ollama.AsyncClient("http://test", headers=headers, transport=transport) as client:
        yield client


def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name
    """
    return f"Sunny in {city}."


async def test_a_chat_with_a_tool(api: Any) -> None:
    call = CALL.replace('"f"', '"weather"')
    messages = [{"role": "user", "content": THOUGHT + call}]
    answer = await api.chat(model="echo", messages=messages, tools=[weather], think=True)
    assert answer.message.thinking == "Hm."
    (found,) = answer.message.tool_calls
    assert (found.function.name, dict(found.function.arguments)) == ("weather", {"c": "é"})
    messages += [answer.message, {"role": "tool", "tool_name": "weather", "content": "Sunny"}]
    assert (await api.chat(model="echo", messages=messages)).done_reason in ("stop", "length")


async def test_streams(api: Any) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    lines = [line async for line in await api.chat(model="echo", messages=messages, stream=True)]
    assert "".join(line.message.content for line in lines) == "Hello"
    assert lines[-1].eval_count == 6
    prompt = await api.generate(model="echo", prompt="Hello", stream=True)
    assert "".join([line.response async for line in prompt]) == "Hello"
    with pytest.raises(ollama.ResponseError, match="no such model"):
        await api.generate(model="other", prompt="Hello")


async def test_models(api: Any) -> None:
    assert [model.model for model in (await api.list()).models] == ["echo"]
    assert [model.model for model in (await api.ps()).models] == ["echo"]
    assert "tools" in (await api.show("echo")).capabilities
    with pytest.raises(ollama.ResponseError, match="started with"):
        await api.pull("llama3")
