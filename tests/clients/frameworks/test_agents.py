"""Agents of openai-agents and pydantic-ai: loops of tool calls and results of a type."""

from __future__ import annotations

import agents
import pytest
from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models import openai as pydantic_ai_models
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.served import KEY, Served
from tests.clients.tools import ASKED, REPORT, RESULT

agents.set_tracing_disabled(True)


class Verdict(BaseModel):
    urgent: bool
    label: str


def forecast(place: str, days: int) -> str:
    """The weather of the next days."""
    assert (place, days) == ("Oslo", 3)
    return RESULT


async def test_openai_agents_over_chats(scripted: Served) -> None:
    client = AsyncOpenAI(base_url=scripted.v1, api_key=KEY, max_retries=0)
    model = OpenAIChatCompletionsModel(model="scripted", openai_client=client)
    agent = agents.Agent(name="a", model=model, tools=[agents.function_tool(forecast)])
    assert (await agents.Runner.run(agent, ASKED)).final_output == REPORT
    streamed = agents.Runner.run_streamed(agent, ASKED)
    assert [event async for event in streamed.stream_events()]
    assert streamed.final_output == REPORT
    judge = agents.Agent(name="j", model=model, output_type=Verdict)
    found = (await agents.Runner.run(judge, "It is Loud.")).final_output
    assert found == Verdict(urgent=True, label="Loud")


@pytest.mark.parametrize("kind", ["OpenAIChatModel", "OpenAIResponsesModel"])
async def test_pydantic_ai(scripted: Served, kind: str) -> None:
    provider = OpenAIProvider(base_url=scripted.v1, api_key=KEY)
    model = getattr(pydantic_ai_models, kind)("scripted", provider=provider)
    agent = Agent(model, tools=[forecast])
    assert (await agent.run(ASKED)).output == REPORT
    async with agent.run_stream(ASKED) as streamed:
        assert await streamed.get_output() == REPORT
    judged = await Agent(model, output_type=Verdict).run("It is Loud.")
    assert judged.output == Verdict(urgent=True, label="Loud")
