"""anthropic (Python)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import pytest

from tests.clients.served import KEY, Served
from tests.clients.tools import ARGUMENTS, ASKED, FORECAST, REPORT, RESULT, THOUGHT, VERDICT

TOOL = {"name": FORECAST["name"], "input_schema": FORECAST["parameters"]}


@pytest.fixture(scope="module")
def client(scripted: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=scripted.url, api_key=KEY, max_retries=0) as made:
        yield made


def asked(text: str, **fields: object) -> dict:
    messages = [{"role": "user", "content": text}]
    return {"model": "scripted", "max_tokens": 200, "messages": messages, **fields}


def test_a_loop_of_calls(client: anthropic.Anthropic) -> None:
    first = asked(ASKED, tools=[TOOL])
    answer = client.messages.create(**first)
    assert answer.stop_reason == "tool_use"
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert call.input == ARGUMENTS
    result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
    first["messages"] += [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    assert client.messages.create(**first).content[0].text == REPORT


def test_the_helper_of_streams(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**asked(THOUGHT)) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "Yes."
    assert [block.type for block in final.content] == ["thinking", "text"]
    with client.messages.stream(**asked(ASKED, tools=[TOOL])) as stream:
        pieces = [e.partial_json for e in stream if e.type == "input_json"]
        final = stream.get_final_message()
    assert json.loads("".join(pieces)) == final.content[-1].input == ARGUMENTS
    assert final.usage.output_tokens


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    fields = asked("Hello.")
    used = client.messages.create(**fields).usage.input_tokens
    del fields["max_tokens"]
    assert client.messages.count_tokens(**fields).input_tokens == used


def test_an_answer_by_a_schema(demo: Served) -> None:
    client = anthropic.Anthropic(base_url=demo.url, api_key=KEY)
    answer = client.messages.create(
        **{**asked("My parcel is lost."), "model": "demo"},
        output_config={"format": {"type": "json_schema", "schema": VERDICT}},
    )
    assert set(json.loads(answer.content[0].text)) == {"urgent", "label"}


def test_errors_have_their_types(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(**asked("Hello."), extra_body={"temperature": -1})
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**{**asked("Hello."), "model": "other"})
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="wrong").messages.create(**asked("Hello."))
