"""Agents of openai-agents, whose loop calls a tool and goes on, whole and streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from echo_client import THOUGHT, client_of
from server_fakes import KEY, LocalHost

from tests.byte_tokenizer import write_byte_tokenizer
from unisono.server.app import create_app
from unisono.server.settings import ServerSettings
from unisono.text import Tokenizer

agents = pytest.importorskip("agents", reason="openai-agents is not installed")

TEMPLATE = (
    "{{ messages[-1].content }}{% if tools and false %}<tool_call></think>{% endif %}<|im_end|>"
)
ASKS = THOUGHT + 'Let me see.<tool_call>{"name":"weather","arguments":{"city":"京"}}</tool_call>'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_byte_tokenizer(folder, TEMPLATE)
    return Tokenizer.load(folder)


@pytest.fixture
async def agent(
    host: LocalHost, tokenizer: Tokenizer, settings: Callable[..., ServerSettings]
) -> AsyncIterator[Any]:
    """An agent whose model says what the last message says."""
    agents.set_tracing_disabled(True)
    asked: list[str] = []

    @agents.function_tool
    def weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return f"Sunny in {city}."

    http = client_of(create_app(settings(), host, tokenizer))
    async with openai.AsyncOpenAI(base_url="http://test/v1", api_key=KEY, http_client=http) as api:
        model = agents.OpenAIResponsesModel(model="echo", openai_client=api)
        agent = agents.Agent(name="a", model=model, tools=[weather])
        agent.asked = asked
        yield agent


@pytest.mark.parametrize("remembers", [False, True])
async def test_a_tool_is_called_and_its_result_is_told(agent: Any, remembers: bool) -> None:
    options = {"auto_previous_response_id": True} if remembers else {}
    result = await agents.Runner.run(agent, ASKS, **options)
    assert agent.asked == ["京"]
    assert result.final_output == "Sunny in 京."
    kinds = [item.type for item in result.new_items]
    assert kinds == [
        *("reasoning_item", "message_output_item", "tool_call_item", "tool_call_output_item"),
        "message_output_item",
    ]
    assert result.context_wrapper.usage.requests == 2


async def test_the_same_as_events(agent: Any) -> None:
    result = agents.Runner.run_streamed(agent, ASKS)
    said = ""
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            said += event.data.delta
    assert said == "Let me see.Sunny in 京."
    assert (result.final_output, agent.asked) == ("Sunny in 京.", ["京"])
