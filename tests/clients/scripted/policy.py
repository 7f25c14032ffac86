"""Answers of the scripted model of these tests: a function of the conversation alone.

It repeats what it is told to repeat, calls a tool where it is given some, reports the result of a
call, and else says what it heard. So clients can be driven through every form of an answer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

TEMPLATE = (
    "{# <tool_call> <think></think> #}"
    '{{ {"messages": messages, "tools": tools or []} | tojson }}'
    "{% if enable_thinking %}<think>{% endif %}"
)
"""A chat template that shows the model its conversation as JSON."""
REPEAT = "Repeat: "
Json = dict[str, Any]


def answer(prompt: str, schema: Json | None = None) -> str:
    """Args:
    schema: the answer is an instance of it, by the words of the last message.
    """
    if not prompt.startswith('{"messages"'):  # a plain completion
        return f" {prompt.split()[-1] if prompt.split() else ''}."
    chat, end = json.JSONDecoder().raw_decode(prompt)
    last = str(chat["messages"][-1].get("content") or "")
    if schema is not None and REPEAT not in last:
        return json.dumps(Instance(last, schema).of(schema))
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
    if (at := text.rfind(REPEAT)) >= 0:
        return text[at + len(REPEAT) :]
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
    schema = function.get("parameters") or {}
    arguments = Instance(text, schema).of({"type": "object", **schema})
    said = json.dumps({"name": function["name"], "arguments": arguments})
    return f"<tool_call>\n{said}\n</tool_call>"


@dataclass(frozen=True)
class Instance:
    """Values of a schema, from a text where it has one."""

    text: str
    root: Json

    def of(self, schema: Json) -> Any:
        if "$ref" in schema:
            return self.of(self.root["$defs"][schema["$ref"].rpartition("/")[2]])
        for name in ("anyOf", "oneOf", "allOf"):
            if name in schema:
                return self.of(schema[name][0])
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        numbers = re.findall(r"-?\d+(?:\.\d+)?", self.text) or ["1"]
        match schema.get("type"):
            case "object":
                quoted = re.findall(r"['`\"](\w+)['`\"]", self.text)
                properties = schema.get("properties") or {key: {} for key in quoted}
                return {name: self.of(part) for name, part in properties.items()}
            case "array":
                return [self.of(schema.get("items") or {})]
            case "integer":
                return int(float(numbers[0]))
            case "number":
                return float(numbers[0])
            case "boolean":
                return True
        words = re.findall(r"\b(?!I\b)[A-Z]\w+", self.text)
        words += re.findall(r"[^\x00-\x7f]+", self.text)
        return words[-1] if words else "text"
