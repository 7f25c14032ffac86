"""Items of a conversation as messages of a chat."""

from __future__ import annotations

from typing import Any

from unisono.server.responses.chat_body import to_chat
from unisono.server.responses.input_items import items_of, messages_of
from unisono.server.responses.response_body import ResponsesRequest

USER = {"role": "user", "content": "Weather?"}
THOUGHT = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Look."}]}
TEXT = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hm."}]}


def call(name: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": name, "name": "f", "arguments": "{}"}


def result(name: str, output: Any = "Sunny") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": name, "output": output}


def roles(*given: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Role, text and number of calls of each message."""
    messages = messages_of((item, "input") for item in items_of(list(given)))
    return [(m["role"], m["content"], len(m.get("tool_calls", ()))) for m in messages]


def test_what_an_assistant_says_in_a_row_is_one_message() -> None:
    items = [USER, THOUGHT, TEXT, call("a"), call("b"), result("a"), result("b"), TEXT]
    assert roles(*items) == [
        ("user", "Weather?", 0),
        ("assistant", "Hm.", 2),
        ("tool", "Sunny", 0),
        ("tool", "Sunny", 0),
        ("assistant", "Hm.", 0),
    ]
    messages = messages_of((item, "") for item in items_of(items))
    assert messages[1]["reasoning_content"] == "Look."
    assert [message.get("tool_call_id") for message in messages[2:4]] == ["a", "b"]


def test_two_texts_and_a_text_behind_a_call() -> None:
    assert roles(TEXT, TEXT) == [("assistant", "Hm.", 0)] * 2
    assert roles(call("a"), TEXT, result("a")) == [("assistant", "Hm.", 1), ("tool", "Sunny", 0)]
    assert roles(call("a"), result("a"), THOUGHT, call("b"))[2] == ("assistant", "", 1)


def test_reasoning_may_be_a_summary_or_nothing() -> None:
    summary = [{"type": "summary_text", "text": text} for text in ("One.", "Two.")]
    (message,) = messages_of(
        (item, "") for item in items_of([{"type": "reasoning", "summary": summary}])
    )
    assert message["reasoning_content"] == "One.\n\nTwo."
    assert roles({"type": "reasoning", "summary": []}, USER) == [("user", "Weather?", 0)]


def test_results_may_be_lists() -> None:
    parts = [{"type": "input_text", "text": text} for text in "ab"]
    assert roles(call("a"), result("a", parts))[1] == ("tool", "a\nb", 0)


def test_options_become_those_of_a_chat() -> None:
    tools = [{"type": "function", "name": name} for name in "fg"]
    body = ResponsesRequest(
        input="a",
        instructions="Be brief.",
        max_output_tokens=5,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        tools=tools,
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [tools[1]]},
        top_logprobs=3,
        seed=5,
    )
    chat = to_chat(body, [], items_of(body.input))
    assert chat["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (chat["max_tokens"], chat["reasoning_effort"], chat["seed"]) == (5, "low", 5)
    assert chat["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert [tool["function"]["name"] for tool in chat["tools"]] == ["g"]
    assert chat["tool_choice"] == "required"
    assert (chat["logprobs"], chat["top_logprobs"]) == (True, 3)
