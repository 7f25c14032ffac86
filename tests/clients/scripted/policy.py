"""Answers of the scripted model of these tests: a function of the conversation alone.

It repeats what it is told to repeat, calls a tool where it is given some, reports the result of a
call, and else says what it heard. So clients can be driven through every form of an answer.
"""

from __future__ import annotations

import json
import re
from typing import Any

TEMPLATE = (
    "{# <tool_call> <think></think> #}"
    '{{ {"messages": messages, "tools": tools or []} | tojson }}'
    "{% if enable_thinking %}<think>{% endif %}"
)
"""A chat template that shows the model its conversation as JSON."""
Json = dict[str, Any]


def answer(prompt: str) -> str:
    if not prompt.startswith('{"messages"'):  # a plain completion
        return f" {prompt.split()[-1] if prompt.split() else ''}."
    chat, end = json.JSONDecoder().raw_decode(prompt)
    said = _said(chat["messages"], chat["tools"])
    return f"Let me see.</think>{said}" if "<think>" in prompt[end:] else said


def _said(messages: list[Json], tools: list[Json]) -> str:
    last = messages[-1]
    text = str(last.get("content") or "")
    if last["role"] == "tool":
        results = [
            str(m["content"]) for m in messages[_last_call(messages) :] if m["role"] == "tool"
        ]
        return f"The result is {', '.join(results)}."
    if (at := text.rfind("Repeat: ")) >= 0:
        return text[at + len("Repeat: ") :]
    if tools:
        return "\n".join(_call(tool, text) for tool in _chosen(tools, text))
    return f"You said: {text}"


def _last_call(messages: list[Json]) -> int:
    return max(at for at, message in enumerate(messages) if message["role"] == "assistant")


def _chosen(tools: list[Json], text: str) -> list[Json]:
    """The tools that the text names, in its order, or the first."""
    named = [tool for tool in tools if tool["function"]["name"] in text]
    return sorted(named, key=lambda tool: text.index(tool["function"]["name"])) or tools[:1]


def _call(tool: Json, text: str) -> str:
    function = tool["function"]
    properties = (function.get("parameters") or {}).get("properties") or {}
    arguments = {name: _value(schema, text) for name, schema in properties.items()}
    said = json.dumps({"name": function["name"], "arguments": arguments})
    return f"<tool_call>\n{said}\n</tool_call>"


def _value(schema: Json, text: str) -> Any:
    """A value of a schema, from the text where it has one."""
    numbers = re.findall(r"-?\d+(?:\.\d+)?", text)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "integer":
            return int(float(numbers[0])) if numbers else 1
        case "number":
            return float(numbers[0]) if numbers else 1.0
        case "boolean":
            return True
        case "array":
            return [_value(schema.get("items", {}), text)]
        case "object":
            inner = schema.get("properties") or {}
            return {name: _value(part, text) for name, part in inner.items()}
    words = re.findall(r"\b(?!I\b)[A-Z]\w+", text)
    return words[-1] if words else "text"
