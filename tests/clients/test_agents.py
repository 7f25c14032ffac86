"""openai-agents: the loop of an agent over responses, whole and streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import agents
import openai
import pytest

from tests.clients.served import KEY, Served
from tests.clients.tools import ASKED, REPORT, RESULT

MakeAgent = Callable[..., agents.Agent]


@pytest.fixture
def make_agent(scripted: Served) -> MakeAgent:
    agents.set_tracing_disabled(True)

    @agents.function_tool
    def forecast(place: str, days: int) -> str:
        """The weather of the next days."""
        assert (place, days) == ("Oslo", 3)
        return RESULT

    def make(**fields: Any) -> agents.Agent:
        client = openai.AsyncOpenAI(base_url=scripted.v1, api_key=KEY, max_retries=0)
        model = agents.OpenAIResponsesModel(model="scripted", openai_client=client)
        return agents.Agent(name="a", model=model, tools=[forecast], **fields)

    return make


@pytest.mark.parametrize("remembers", [False, True])
def test_a_tool_is_called(make_agent: MakeAgent, remembers: bool) -> None:
    """The conversation is sent anew, or the server remembers it."""
    options = {"auto_previous_response_id": True} if remembers else {}
    result = agents.Runner.run_sync(make_agent(instructions="Help."), ASKED, **options)
    assert result.final_output == REPORT
    assert [item.type for item in result.new_items] == [
        *("tool_call_item", "tool_call_output_item", "message_output_item")
    ]


def test_a_stream(make_agent: MakeAgent) -> None:
    async def run() -> tuple[str, Any]:
        result = agents.Runner.run_streamed(make_agent(), ASKED)
        said = ""
        async for event in result.stream_events():
            if event.type == "raw_response_event":
                said += getattr(event.data, "delta", "") * (
                    event.data.type == "response.output_text.delta"
                )
        return said, result.final_output

    assert asyncio.run(run()) == (REPORT, REPORT)


def test_one_agent_hands_over_to_another(make_agent: MakeAgent) -> None:
    other = make_agent(handoff_description="Knows Oslo.")
    first = make_agent(handoffs=[other])
    first.name, other.name, first.tools = "first", "other", []
    result = agents.Runner.run_sync(first, ASKED)
    assert result.last_agent.name == "other"
    assert result.final_output
