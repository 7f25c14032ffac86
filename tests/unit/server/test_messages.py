"""Anthropic's messages, whole and streamed, from an engine that says what the prompt says."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from server_fakes import byte_tokenizer

from unisono.server.anthropic.message_body import MessagesRequest, to_chat
from unisono.server.anthropic.message_response import Message
from unisono.server.api_error import ApiError
from unisono.text import Tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if tools and false %}<tool_call></think>{% endif %}<|im_end|>"
)
THOUGHT = "<think>Hm.</think>"
CALL = '<tool_call>{"name":"f","arguments":{"c":"é"}}</tool_call>'
TOOLS = [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The client's own, in place of the one that most tests have."""
    return byte_tokenizer(tmp_path_factory.mktemp("tokenizer"), TEMPLATE)


def body(text: Any, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "echo", "max_tokens": 120, "messages": messages, **fields}


async def whole(client: httpx.AsyncClient, text: str, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/messages", json=body(text, **fields))
    assert response.status_code == 200, response.text
    Message.model_validate_json(response.content)
    message: dict[str, Any] = response.json()
    return message


async def streamed(client: httpx.AsyncClient, text: str, **fields: Any) -> list[dict[str, Any]]:
    response = await client.post("/v1/messages", json=body(text, stream=True, **fields))
    events = []
    for lines in response.text.split("\n\n")[:-1]:
        name, data = lines.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


async def test_a_message(client: httpx.AsyncClient) -> None:
    message = await whole(client, THOUGHT + "Hi")
    assert message["id"].startswith("msg_")
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "echo")
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "Hi"},
    ]
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (20, 1)
    assert usage["output_tokens"] == 21


async def test_reasons_of_the_end(client: httpx.AsyncClient) -> None:
    assert (await whole(client, "Hello", max_tokens=2))["stop_reason"] == "max_tokens"
    message = await whole(client, "Hello", stop_sequences=["ll"])
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "ll")
    message = await whole(client, CALL, tools=TOOLS)
    assert message["stop_reason"] == "tool_use"
    (block,) = message["content"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "f", {"c": "é"})


async def test_a_stream_is_the_same_in_blocks(client: httpx.AsyncClient) -> None:
    events = await streamed(client, f"{THOUGHT}One.{CALL}", tools=TOOLS)
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    assert events[0]["message"]["content"] == []
    assert events[-2]["type"] == "message_delta"
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[-2]["usage"]["output_tokens"] > 10
    blocks: list[dict[str, Any]] = []
    is_open = False
    for event in events[1:-2]:
        if event["type"] == "content_block_start":
            assert not is_open
            is_open = True
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "said": ""})
        elif event["type"] == "content_block_delta":
            assert is_open
            assert event["index"] == len(blocks) - 1
            delta = event["delta"]
            name = {"text_delta": "text", "thinking_delta": "thinking"}.get(delta["type"])
            blocks[-1]["said"] += delta[name or "partial_json"]
        else:
            assert event == {"type": "content_block_stop", "index": len(blocks) - 1}
            is_open = False
    assert not is_open
    said = [(block["type"], block["said"]) for block in blocks]
    assert said == [("thinking", "Hm."), ("text", "One."), ("tool_use", '{"c":"é"}')]
    assert blocks[2]["input"] == {}


async def test_tokens_are_counted(client: httpx.AsyncClient) -> None:
    given = body("Hello")
    del given["max_tokens"]
    response = await client.post("/v1/messages/count_tokens", json=given)
    assert response.json() == {"input_tokens": 6}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_tokens": None}, "max_tokens: This field is required"),
        ({"messages": 5}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "Only text"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "text: Input"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "no tools of its own"),
        ({"tools": TOOLS, "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "g"}}, "none of the tools"),
        ({"output_format": {"type": "xml"}}, "output_format"),
        ({"model": "other"}, "no such model"),
    ],
)
async def test_what_is_wrong_is_said_in_its_shape(
    client: httpx.AsyncClient, fields: dict[str, Any], says: str
) -> None:
    response = await client.post("/v1/messages", json=body("a") | fields)
    assert response.status_code in (400, 404)
    told = response.json()
    assert told["type"] == "error"
    assert told["error"]["type"] in ("invalid_request_error", "not_found_error")
    assert says in told["error"]["message"]
    assert int(response.headers["content-length"]) == len(response.content)


def chat_of(messages: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    given = MessagesRequest(messages=messages, max_tokens=5, **fields)
    return to_chat(given, counts=False, has_switch=True)


def test_a_conversation_with_tools_becomes_a_chat() -> None:
    messages = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Look.", "signature": "s"},
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"c": "京"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And?"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "Sunny"}],
                },
            ],
        },
    ]
    system = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    chat = chat_of(messages, system=system, tools=TOOLS, tool_choice={"type": "any"})
    assert [message["role"] for message in chat["messages"]] == [
        *("system", "user", "assistant", "tool", "user")
    ]
    assert chat["messages"][0]["content"] == "Be brief.\nBe kind."
    said = chat["messages"][2]
    assert (said["content"], said["reasoning_content"]) == ("One moment.", "Look.")
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"c": "京"}
    result = chat["messages"][3]
    assert (result["content"], result["tool_call_id"]) == ("Sunny", "toolu_1")
    assert chat["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert chat["tool_choice"] == "required"


def test_options_become_those_of_a_chat() -> None:
    user = {"role": "user", "content": "a"}
    chat = chat_of(
        [user],
        thinking={"type": "disabled"},
        stop_sequences=["x"],
        output_format={"type": "json_schema", "schema": {"type": "object"}},
    )
    assert (chat["enable_thinking"], chat["stop"]) == (False, ["x"])
    assert chat["response_format"]["json_schema"]["schema"] == {"type": "object"}
    single = {"type": "auto", "disable_parallel_tool_use": True}
    assert chat_of([user], tools=TOOLS, tool_choice=single)["parallel_tool_calls"] is False
    assert chat_of([user, {"role": "assistant", "content": "b"}])["continue_final_message"] is True
    with pytest.raises(ApiError):
        chat_of([{"role": "user", "content": [5]}])
