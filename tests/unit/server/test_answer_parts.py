"""Reasoning and tool calls in responses, from an engine that says what the prompt says."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from server_fakes import LocalHost, byte_tokenizer

from unisono.server.openai.response_schema import ChatCompletion
from unisono.text import Tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if tools and false %}<tool_call></think>{% endif %}"
    "{{ '<|im_end|>' if enable_thinking is not false }}"
)
THOUGHT = "<think>\nTwo cities.\n</think>\n\n"
CALLS = "".join(
    f'<tool_call>{{"name":"f","arguments":{{"c":"{city}"}}}}</tool_call>' for city in ("é", "京")
)
ARGUMENTS = [{"name": "f", "arguments": f'{{"c":"{city}"}}'} for city in ("é", "京")]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The client's own, in place of the one that most tests have."""
    return byte_tokenizer(tmp_path_factory.mktemp("tokenizer"), TEMPLATE)


def body(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


async def whole(client: httpx.AsyncClient, text: str, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/chat/completions", json=body(text, **fields))
    assert response.status_code == 200, response.text
    ChatCompletion.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


async def streamed(client: httpx.AsyncClient, text: str, **fields: Any) -> dict[str, Any]:
    """The message and the reason of its end, put together as clients do it."""
    response = await client.post("/v1/chat/completions", json=body(text, stream=True, **fields))
    message: dict[str, Any] = {"content": ""}
    calls: dict[int, dict[str, Any]] = {}
    reason = None
    for event in response.text.split("\n\n")[:-2]:
        (choice,) = json.loads(event.removeprefix("data: "))["choices"]
        delta, reason = choice["delta"], choice["finish_reason"] or reason
        for name in ("content", "reasoning_content", "reasoning"):
            if name in delta:
                message[name] = message.get(name, "") + delta[name]
        for piece in delta.get("tool_calls", ()):
            if "id" in piece:
                assert piece["type"] == "function"
                calls[piece["index"]] = {"name": piece["function"]["name"], "arguments": ""}
            calls[piece["index"]]["arguments"] += piece["function"]["arguments"]
    return {**message, "calls": list(calls.values()), "finish_reason": reason}


async def test_reasoning_is_apart_from_content(client: httpx.AsyncClient) -> None:
    answer = await whole(client, THOUGHT + "Hello <think>.")
    message = answer["choices"][0]["message"]
    assert message["reasoning_content"] == message["reasoning"] == "Two cities."
    assert message["content"] == "Hello <think>."
    details = answer["usage"]["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < answer["usage"]["completion_tokens"]
    found = await streamed(client, THOUGHT + "Hello <think>.")
    assert found["reasoning_content"] == found["reasoning"] == "Two cities."
    assert (found["content"], found["finish_reason"]) == ("Hello <think>.", "stop")


@pytest.mark.parametrize("fields", [{"separate_reasoning": False}, {"reasoning_format": "none"}])
async def test_reasoning_may_stay_in_the_content(
    client: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    message = (await whole(client, THOUGHT + "Hi", **fields))["choices"][0]["message"]
    assert message["content"] == THOUGHT + "Hi"
    assert "reasoning_content" not in message


async def test_reasoning_may_be_left_out(client: httpx.AsyncClient) -> None:
    message = (await whole(client, THOUGHT + "Hi", include_reasoning=False))["choices"][0][
        "message"
    ]
    assert message["content"] == "Hi"
    assert "reasoning_content" not in message
    found = await streamed(client, THOUGHT + "Hi", include_reasoning=False)
    assert (found["content"], found.get("reasoning")) == ("Hi", None)


async def test_tools_are_called(client: httpx.AsyncClient) -> None:
    choice = (await whole(client, CALLS, tools=TOOLS))["choices"][0]
    calls = choice["message"]["tool_calls"]
    assert [call["function"] for call in calls] == ARGUMENTS
    assert len({call["id"] for call in calls}) == 2
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    found = await streamed(client, CALLS, tools=TOOLS)
    assert found["calls"] == ARGUMENTS
    assert (found["content"], found["finish_reason"]) == ("", "tool_calls")


async def test_tools_are_called_after_reasoning_and_text(client: httpx.AsyncClient) -> None:
    text = f"{THOUGHT}One.\n{CALLS[: len(CALLS) // 2]}"
    message = (await whole(client, text, tools=TOOLS))["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("Two cities.", "One.")
    assert message["tool_calls"][0]["function"] == ARGUMENTS[0]
    found = await streamed(client, text, tools=TOOLS)
    assert (found["reasoning"], found["content"]) == ("Two cities.", "One.")
    assert found["calls"] == ARGUMENTS[:1]


ONE = {"type": "function", "function": {"name": TOOLS[0]["function"]["name"]}}


@pytest.mark.parametrize("one", [{"parallel_tool_calls": False}, {"tool_choice": ONE}])
async def test_one_call_at_a_time(
    client: httpx.AsyncClient, host: LocalHost, one: dict[str, Any]
) -> None:
    fields = {"tools": TOOLS, **one}
    choice = (await whole(client, CALLS, **fields))["choices"][0]
    assert len(choice["message"]["tool_calls"]) == 1
    assert choice["finish_reason"] == "tool_calls"
    assert len(host.engine.aborted) == 1


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS, "tool_choice": "none"}])
async def test_without_tools_a_call_is_text(
    client: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    message = (await whole(client, CALLS, **fields))["choices"][0]["message"]
    assert message["content"] == CALLS
    assert "tool_calls" not in message


async def test_a_call_that_breaks_off(client: httpx.AsyncClient) -> None:
    text = '<tool_call>\n{"name": "f", "arguments": {"c": "Kö'
    fields = {"tools": TOOLS, "max_tokens": len(text.encode())}
    choice = (await whole(client, text, **fields))["choices"][0]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"c": "Kö'
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [*TOOLS, *TOOLS]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice",
        ),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": 5}, "tool_choice"),
    ],
)
async def test_tools_that_contradict_themselves(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    response = await client.post("/v1/chat/completions", json=body("a", **fields))
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


async def test_thinking_is_switched(client: httpx.AsyncClient) -> None:
    """By the template's own variable: off, this template ends no answer."""
    fields = {"enable_thinking": False, "max_tokens": 4}
    assert (await whole(client, "ab", **fields))["choices"][0]["finish_reason"] == "length"
    fields = {"reasoning_effort": "none", "max_tokens": 4}
    assert (await whole(client, "ab", **fields))["choices"][0]["finish_reason"] == "length"
