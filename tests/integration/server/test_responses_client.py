"""The official client's responses, against a server with a real engine."""

from __future__ import annotations

import openai
import pytest
from pydantic import BaseModel
from server_process import MODEL_NAME


class Weather(BaseModel):
    warm: bool


def test_a_stream_is_the_whole(api: openai.OpenAI) -> None:
    options = {"model": MODEL_NAME, "input": "Tell me 北京", "max_output_tokens": 24}
    whole = api.responses.create(**options, extra_body={"seed": 5})
    assert whole.status in ("incomplete", "completed")
    assert whole.usage is not None
    with api.responses.stream(**options, extra_body={"seed": 5}) as stream:
        events = list(stream)
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == whole.output_text
    last = events[-1]
    assert last.type in ("response.incomplete", "response.completed")
    assert last.response.usage == whole.usage.model_copy(
        update={"input_tokens_details": last.response.usage.input_tokens_details}
    )


def test_an_answer_is_parsed(api: openai.OpenAI) -> None:
    found = api.responses.parse(
        model=MODEL_NAME, input="Is it warm?", text_format=Weather, max_output_tokens=60
    )
    assert isinstance(found.output_parsed, Weather)


def test_a_conversation(api: openai.OpenAI) -> None:
    first = api.responses.create(input="One", max_output_tokens=2)
    assert api.responses.retrieve(first.id) == first
    second = api.responses.create(input="Two", max_output_tokens=2, previous_response_id=first.id)
    listed = list(api.responses.input_items.list(second.id, limit=1, order="asc"))
    assert [item.type for item in listed] == ["message"] * 3
    api.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        api.responses.retrieve(first.id)


def test_errors_are_the_client_s_own(api: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="web_search"):
        api.responses.create(input="a", tools=[{"type": "web_search"}])
    with pytest.raises(openai.BadRequestError, match="context"):
        api.responses.create(input="a" * 5000)
    with pytest.raises(openai.BadRequestError, match="background"):
        api.responses.create(input="a", background=True)
