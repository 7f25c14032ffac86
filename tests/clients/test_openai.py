"""openai (Python)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

import openai
import pytest
from pydantic import BaseModel

from tests.clients.served import KEY, Served
from tests.clients.tools import ARGUMENTS, ASKED, REPORT, RESULT, THOUGHT, TOOL


class Verdict(BaseModel):
    urgent: bool
    label: Literal["parcel", "noise"]


@pytest.fixture(scope="module")
def client(scripted: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=scripted.v1, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def real(demo: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=demo.v1, api_key=KEY, max_retries=0) as made:
        yield made


def said(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_a_loop_of_calls(client: openai.OpenAI) -> None:
    messages: list = [said(ASKED)]
    answer = client.chat.completions.create(model="scripted", messages=messages, tools=[TOOL])
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == ARGUMENTS
    messages += [
        answer.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": RESULT},
    ]
    answer = client.chat.completions.create(model="scripted", messages=messages, tools=[TOOL])
    assert answer.choices[0].message.content == REPORT


def test_the_helper_of_streams_puts_calls_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="scripted", messages=[said(ASKED)], tools=[TOOL]
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    (call,) = final.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == ARGUMENTS


def test_reasoning_is_apart(client: openai.OpenAI) -> None:
    asked = {"model": "scripted", "messages": [said(THOUGHT)]}
    message = client.chat.completions.create(**asked).choices[0].message
    assert (message.content, message.model_extra["reasoning_content"]) == ("Yes.", "Hm.")
    chunks = list(client.chat.completions.create(**asked, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.model_extra.get("reasoning_content") or "" for delta in deltas) == "Hm."
    assert "".join(delta.content or "" for delta in deltas) == "Yes."


def test_parse_reads_a_model_of_pydantic(real: openai.OpenAI) -> None:
    asked = {"model": "demo", "messages": [said("My parcel is lost.")], "response_format": Verdict}
    answer = real.chat.completions.parse(**asked)
    assert isinstance(answer.choices[0].message.parsed, Verdict)
    with real.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Verdict)


def test_a_tool_of_pydantic_is_called_as_it_is(real: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Verdict, name="judge")
    answer = real.chat.completions.parse(
        model="demo",
        messages=[said("It is loud.")],
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Verdict)


def test_errors_have_their_types(real: openai.OpenAI) -> None:
    def ask(**fields: object) -> None:
        real.chat.completions.create(**{"model": "demo", "messages": [said("Hello.")], **fields})

    with pytest.raises(openai.BadRequestError) as refused:
        ask(temperature=-1)
    assert (refused.value.param, refused.value.code) == ("temperature", "invalid_value")
    with pytest.raises(openai.NotFoundError):
        ask(model="other")
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        ask(messages=[said("parcel " * 9000)])
    with pytest.raises(openai.AuthenticationError):
        real.with_options(api_key="wrong").models.list()


async def _texts(url: str) -> list[str]:
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY) as client:
        stream = await client.completions.create(
            model="demo", prompt="a", max_tokens=3, stream=True
        )
        return [chunk.choices[0].text async for chunk in stream]


def test_completions_without_threads(demo: Served) -> None:
    import asyncio

    assert "".join(asyncio.run(_texts(demo.v1)))
