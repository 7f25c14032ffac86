"""litellm."""

from __future__ import annotations

import json

import litellm
import pytest

from tests.clients.served import KEY, Served
from tests.clients.tools import ARGUMENTS, ASKED, REPORT, RESULT, THOUGHT, TOOL

litellm.drop_params = False


def ask(served: Served, messages: list, **fields: object):
    return litellm.completion(
        model=f"{fields.pop('provider', 'hosted_vllm')}/{served.model}",
        api_base=fields.pop("api_base", served.v1),
        api_key=KEY,
        messages=messages,
        num_retries=0,
        **fields,
    )


def said(text: str) -> list:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm", "litellm_proxy"])
def test_a_loop_of_calls(scripted: Served, provider: str) -> None:
    answer = ask(scripted, said(ASKED), tools=[TOOL], provider=provider)
    message = answer.choices[0].message
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments) == ARGUMENTS
    result = {"role": "tool", "tool_call_id": call.id, "content": RESULT}
    messages = [*said(ASKED), message.model_dump(), result]
    answer = ask(scripted, messages, tools=[TOOL], provider=provider)
    assert answer.choices[0].message.content == REPORT


def test_reasoning_and_streams(scripted: Served) -> None:
    whole = ask(scripted, said(THOUGHT)).choices[0].message
    assert (whole.content, whole.reasoning_content) == ("Yes.", "Hm.")
    chunks = list(ask(scripted, said(THOUGHT), stream=True))
    built = litellm.stream_chunk_builder(chunks).choices[0].message
    assert (built.content, built.reasoning_content) == ("Yes.", "Hm.")


def test_a_model_of_anthropic_s_api(scripted: Served) -> None:
    answer = ask(scripted, said(ASKED), tools=[TOOL], provider="anthropic", api_base=scripted.url)
    (call,) = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == ARGUMENTS


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_it_knows_the_errors(demo: Served, provider: str) -> None:
    with pytest.raises(litellm.ContextWindowExceededError):
        ask(demo, said("parcel " * 9000), provider=provider)
    with pytest.raises(litellm.BadRequestError):
        ask(demo, said("Hello."), provider=provider, temperature=-1)
