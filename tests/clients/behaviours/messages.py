"""Anthropic's messages, and responses."""

from __future__ import annotations

import json
from typing import Any

from tests.clients.behaviours.listing import HELLO, Api, L, S, Topic, V
from tests.clients.tools import ARGUMENTS, ASKED, PLACE, RESULT, THOUGHT

MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
messages = Topic("Anthropic's messages")
responses = Topic("Responses")
TOOL = {"name": "forecast", "input_schema": PLACE}


def message(api: Api, **fields: Any) -> dict[str, Any]:
    return api.post(MESSAGES, {"model": "demo", "max_tokens": 8, "messages": HELLO, **fields})


@messages("a message has type, role, blocks of content, stop_reason and usage", L, S)
def _(api: Api) -> None:
    found = message(api)
    assert (found["type"], found["role"], found["content"][0]["type"]) == (
        "message",
        "assistant",
        "text",
    )
    assert found["id"].startswith("msg_")
    assert found["stop_reason"] == "max_tokens"
    assert {"input_tokens", "output_tokens", "cache_read_input_tokens"} <= set(found["usage"])
    assert "timings" not in found


@messages("system is a text or a list of blocks", L, S)
def _(api: Api) -> None:
    for system in (
        "Be brief.",
        [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
    ):
        assert (
            message(api, system=system)["usage"]["input_tokens"]
            > message(api)["usage"]["input_tokens"]
        )


@messages("content is a list of blocks, over several turns", L, S)
def _(api: Api) -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": " this?"}]
    turns = [
        *HELLO,
        {"role": "assistant", "content": "A parcel."},
        {"role": "user", "content": parts},
    ]
    assert message(api, messages=turns)["content"]


@messages("a stream has the events of a message, in order", L, S)
def _(api: Api) -> None:
    kinds = [event["type"] for event in api.stream(MESSAGES, model="demo")]
    assert kinds[0] == "message_start"
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert {"content_block_start", "content_block_delta"} <= set(kinds)


@messages("message_start has usage and no content, message_delta the reason of the end", L, S)
def _(api: Api) -> None:
    events = api.stream(MESSAGES, model="demo")
    assert events[0]["message"]["content"] == []
    assert events[0]["message"]["usage"]["input_tokens"] > 0
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"
    assert events[-2]["usage"]["output_tokens"] == 8


@messages("tool_use has id, name and input", L, S)
def _(api: Api) -> None:
    found = api.obey(ASKED, MESSAGES, tools=[TOOL])
    (call,) = [block for block in found["content"] if block["type"] == "tool_use"]
    assert (call["name"], call["input"], found["stop_reason"]) == (
        "forecast",
        ARGUMENTS,
        "tool_use",
    )


@messages("a streamed tool_use gives its input as pieces of JSON", L, S)
def _(api: Api) -> None:
    events = api.obeyed(ASKED, MESSAGES, tools=[TOOL])
    pieces = [
        e["delta"].get("partial_json", "") for e in events if e["type"] == "content_block_delta"
    ]
    assert json.loads("".join(pieces)) == ARGUMENTS


@messages("tool_result is answered, also beside text and as an error", L)
def _(api: Api) -> None:
    call = {"type": "tool_use", "id": "t1", "name": "forecast", "input": ARGUMENTS}
    for extra in ({}, {"is_error": True}):
        result = {"type": "tool_result", "tool_use_id": "t1", "content": RESULT, **extra}
        turns = [
            {"role": "user", "content": ASKED},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result, {"type": "text", "text": "Repeat: Good."}]},
        ]
        assert api.obey("", MESSAGES, messages=turns, tools=[TOOL])["content"][0]["type"] == "text"


@messages("thinking is a block of its own", L, S)
def _(api: Api) -> None:
    kinds = [block["type"] for block in api.obey(THOUGHT, MESSAGES)["content"]]
    assert kinds == ["thinking", "text"]


@messages("stop_sequences end the message and are named", L, S)
def _(api: Api) -> None:
    found = message(api, max_tokens=40, temperature=0, stop_sequences=[":"])
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", ":")


@messages("count_tokens counts what a message counts, without max_tokens", L, S)
def _(api: Api) -> None:
    found = api.post(
        f"{MESSAGES}/count_tokens", {"model": "demo", "messages": HELLO, "system": "a"}
    )
    assert found == {"input_tokens": message(api, system="a")["usage"]["input_tokens"]}


@messages("an error has Anthropic's shape", L, S)
def _(api: Api) -> None:
    response = api.client.post(MESSAGES, json={"messages": [], "max_tokens": 1})
    assert (response.status_code, response.json()["type"]) == (400, "error")
    assert response.json()["error"]["type"] == "invalid_request_error"


@messages("the key may come as x-api-key", L)
def _(api: Api) -> None:
    key = api.client.headers["authorization"].removeprefix("Bearer ")
    headers = {"authorization": "", "x-api-key": key}
    body = {"messages": HELLO, "max_tokens": 1}
    assert api.client.post(MESSAGES, json=body, headers=headers).status_code == 200


messages.answered(
    "temperature, top_p and top_k are taken",
    MESSAGES,
    {"temperature": 0.5, "top_p": 0.9, "top_k": 40},
    L,
    S,
)
messages.refused("max_tokens below 1 are refused", MESSAGES, {"max_tokens": -1}, S)
responses.refused(
    "an unknown type of tool is refused", RESPONSES, {"tools": [{"type": "some_tool"}]}, S
)
responses.answered(
    "instructions and temperature are taken",
    RESPONSES,
    {"instructions": "Be brief.", "temperature": 0},
    V,
    L,
)
