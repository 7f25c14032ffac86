"""Structured output through the openai client and in other servers' spellings."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from server_process import MODEL_NAME, RunningServer

USER: Any = {"role": "user", "content": "Hi"}
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "count": {"type": "integer", "maximum": 9}},
    "required": ["kind"],
    "additionalProperties": False,
}
FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "it", "strict": True, "schema": SCHEMA},
}


def test_a_strict_schema(api: openai.OpenAI) -> None:
    chat = api.chat.completions.create(
        model=MODEL_NAME, messages=[USER], response_format=FORMAT, max_tokens=200, seed=3, n=3
    )
    for choice in chat.choices:
        assert choice.finish_reason == "stop"
        assert json.loads(choice.message.content or "")["kind"] in ("a", "b")


def test_a_stream_says_the_same(api: openai.OpenAI) -> None:
    same: Any = {"model": MODEL_NAME, "messages": [USER], "response_format": FORMAT, "seed": 3}
    whole = api.chat.completions.create(**same, max_tokens=200)
    chunks = api.chat.completions.create(**same, max_tokens=200, stream=True)
    parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(parts) == whole.choices[0].message.content


@pytest.mark.parametrize(
    "fields",
    [
        {"structured_outputs": {"choice": ["yes"]}},
        {"guided_choice": ["yes"]},
        {"guided_regex": "yes"},
        {"regex": "yes"},
        {"ebnf": 'root ::= "yes"'},
        {"grammar": 'start: "yes"'},
        {"guided_decoding": {"regex": "yes", "backend": "x"}},
        {"response_format": {"type": "regex", "value": "yes"}},
    ],
)
def test_other_spellings(api: openai.OpenAI, fields: dict[str, Any]) -> None:
    made = api.completions.create(model=MODEL_NAME, prompt="a", extra_body=fields)
    assert made.choices[0].text == "yes"


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": FORMAT},
        {"structured_outputs": {"json": SCHEMA}},
        {"guided_json": json.dumps(SCHEMA)},
        {"json_schema": SCHEMA},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"format": SCHEMA},
    ],
)
def test_spellings_of_a_schema(api: openai.OpenAI, fields: dict[str, Any]) -> None:
    made = api.completions.create(
        model=MODEL_NAME, prompt="a", max_tokens=200, seed=4, extra_body=fields
    )
    assert json.loads(made.choices[0].text)["kind"] in ("a", "b")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}},
            "response_format.json_schema.schema",
        ),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
        ({"structured_outputs": {"xml": "("}}, "structured_outputs"),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice"),
        ({"guided_regex": "a", "min_tokens": 4}, "min_tokens"),
        ({"guided_regex": "(?=a)b"}, "guided_regex"),
    ],
)
def test_what_cannot_be_is_a_400(
    api: openai.OpenAI, server: RunningServer, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        api.completions.create(model=MODEL_NAME, prompt="a", extra_body=fields)
    assert caught.value.param == param
    assert httpx.get(f"{server.base_url}/health").status_code == 200
