"""The responses of openai (Python)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from tests.clients.served import KEY, Served
from tests.clients.test_openai import Verdict
from tests.clients.tools import ARGUMENTS, ASKED, FORECAST, REPORT, RESULT, THOUGHT

TOOL = {"type": "function", **FORECAST, "strict": True}


@pytest.fixture(scope="module")
def client(scripted: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=scripted.v1, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("remembers", [False, True])
def test_a_loop_of_calls(client: openai.OpenAI, remembers: bool) -> None:
    first = client.responses.create(model="scripted", input=ASKED, tools=[TOOL])
    (call,) = first.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == ARGUMENTS
    result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    before = [] if remembers else [{"role": "user", "content": ASKED}, *first.output]
    answer = client.responses.create(
        model="scripted",
        input=[*before, result],
        previous_response_id=first.id if remembers else None,
        tools=[TOOL],
    )
    assert answer.output_text == REPORT


def test_the_helper_of_streams_puts_it_together(client: openai.OpenAI) -> None:
    with client.responses.stream(model="scripted", input=ASKED, tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.done" in kinds
    (call,) = final.output
    assert json.loads(call.arguments) == ARGUMENTS
    with client.responses.stream(model="scripted", input=THOUGHT) as stream:
        events = [event for event in stream if event.type.endswith("text.delta")]
        final = stream.get_final_response()
    said = [(event.type, event.delta) for event in events]
    thoughts = [text for kind, text in said if kind == "response.reasoning_text.delta"]
    texts = [text for kind, text in said if kind == "response.output_text.delta"]
    assert ("".join(thoughts), "".join(texts)) == ("Hm.", "Yes.")
    assert [item.type for item in final.output] == ["reasoning", "message"]


def test_parse_reads_a_model_of_pydantic(demo: Served) -> None:
    with openai.OpenAI(base_url=demo.v1, api_key=KEY, max_retries=0) as real:
        answer = real.responses.parse(model="demo", input="My parcel is lost.", text_format=Verdict)
    assert isinstance(answer.output_parsed, Verdict)


def test_errors_are_its_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="web_search"):
        client.responses.create(model="scripted", input="a", tools=[{"type": "web_search"}])
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_none")
