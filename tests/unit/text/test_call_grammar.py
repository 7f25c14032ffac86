"""Calls that a model is held to, in each format: what its grammar allows is read as calls of the
tools that there are, with arguments by their schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

import jsonschema_rs
import pytest

from tests.answers import LETTERS, MarkTokenizer, calls, content, marks_of, parse, reasoning
from tests.call_samples import Samples
from unisono.core.errors import InvalidRequestError
from unisono.text.parsers.answer_format import AnswerFormat, Pair
from unisono.text.parsers.called_tools import tool_schemas
from unisono.text.parsers.finding import FORMATS, format_named
from unisono.text.parsers.forcing import forced_calls, guarded_calls
from unisono.text.parsers.marks import Marks
from unisono.text.parsers.messages_format import MessagesFormat

FIND: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "place": {"type": "string", "maxLength": 6},
        "unit": {"enum": ["km", "mile"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["place", "count"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "find", "strict": True, "parameters": FIND}},
    {"type": "function", "function": {"name": "now"}},
]
SCHEMAS = tool_schemas(TOOLS)
WAYS = [
    (kind, is_token)
    for kind in FORMATS
    for is_token in (True, False)
    if is_token or not issubclass(kind, MessagesFormat)
]
NAMES = [f"{kind.name}{'' if is_token else ', letters'}" for kind, is_token in WAYS]


def made(kind: type[AnswerFormat], is_token: bool = True) -> tuple[AnswerFormat, Marks]:
    tokenizer = MarkTokenizer(None, special=False) if is_token else LETTERS
    format = kind(kind.own_thinking or Pair("<think>", "</think>"), kind.own_speaking)
    return format, marks_of(format, tokenizer)


def check(arguments: str, name: str) -> None:
    value = json.loads(arguments)
    assert isinstance(value, dict)
    if name == "find":
        jsonschema_rs.validate(FIND, value)


@pytest.mark.parametrize(("kind", "is_token"), WAYS, ids=NAMES)
def test_forced_calls_are_read_as_such(kind: type[AnswerFormat], is_token: bool) -> None:
    format, marks = made(kind, is_token)
    constraint = forced_calls(format, marks, TOOLS, names=["find", "now"], several=True)
    samples, guard = Samples(marks), guarded_calls(format, marks, TOOLS, several=True)
    assert guard is not None
    found = (samples.one(constraint, seed) for seed in range(12))
    texts = list(islice((text for text in found if text is not None), 3))
    assert texts
    for text in texts:
        parts = parse(format, marks, [text], SCHEMAS)
        called = calls(parts)
        assert called
        assert not content(parts)
        for call in called:
            check(call.arguments, call.name)
        assert samples.takes(guard.constraint, text)
        is_bare = content(parse(format, marks, [text.replace("find", "fund")], SCHEMAS))
        if any(call.name == "find" for call in called) and not is_bare:
            assert not samples.takes(guard.constraint, text.replace("find", "fund"))


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_text_that_calls_nothing(kind: type[AnswerFormat]) -> None:
    format, marks = made(kind)
    guard = guarded_calls(format, marks, TOOLS, several=True)
    assert guard is not None
    said = {"harmony": "<|channel|>final<|message|>", "muse": " to=user<|message|>"}
    before = said.get(kind.name, "all\n" if kind.name == "functionary-v3.2" else "")
    for text in (
        "Hm: {so} <b> [1].\n",
        '{"name": "Bob", "age": 3}',
        "[1, 2]",
        "```json\n{}```",
        "",
    ):
        answer = marks.written(before + text)
        assert Samples(marks).takes(guard.constraint, answer), text
        assert content(parse(format, marks, [answer], SCHEMAS)) == text


@pytest.mark.parametrize("name", ["hermes", "llama", "general", "qwen3-coder"])
def test_any_json_for_a_tool_that_is_not_strict(name: str) -> None:
    """Beside text, in the model's own order of keys."""
    format, marks = made(format_named(name))
    tools = [{"type": "function", "function": {"name": "find", "parameters": FIND}}]
    guard = guarded_calls(format, marks, tools, several=True)
    assert guard is not None
    assert not guard.is_strict
    samples = Samples(marks)
    for text, is_allowed in LOOSE[name]:
        assert samples.takes(guard.constraint, marks.written(text)) is is_allowed, text


LOOSE = {
    "hermes": [
        ('Ok.\n<tool_call>\n{"name": "find", "arguments": {"x": [1]}}\n</tool_call> Bye', True),
        ('<tool_call>{"name": "find", "arguments": {}}</tool_call>', True),
        ('<tool_call>\n{"name": "find", "arguments": {"x": }}\n</tool_call>', False),
        ('<tool_call>\n{"name": "found", "arguments": {}}\n</tool_call>', False),
        ("<tool_call>no", False),
        ("<tool_call>", False),
    ],
    "llama": [
        ('{"name": "find", "parameters": {"x": "y"}}', True),
        ('{"name": "find", "parameters": 1}', False),
        ('{"name": "found", "parameters": 1}', True),
        ('[find(place="Bern", x=[1])]', True),
        ("[find(place=)]", False),
        ("<|python_tag|>print(1)", False),
    ],
    "general": [
        ('[{"name": "find", "arguments": {"x": 1}}]', True),
        ('So: <tool_call>{"name": "find", "arguments": {"x": 1}}</tool_call>', True),
        ('So: <tool_call>{"name": "find", "arguments": {"x": 1}', False),
        ('```json\n[{"name": "find", "arguments": {"x": 1}}]\n```', True),
        ('  {"name": "find", "argument": {"x": 1}}', False),
    ],
    "qwen3-coder": [
        (
            "<tool_call>\n<function=find>\n<parameter=x>\ny\n</parameter>\n</function>\n</tool_call>",
            True,
        ),
        ("<tool_call>\n<function=fund>\n</function>\n</tool_call>", False),
        ("a < b, <tool> and <function", True),
    ],
}


def test_many_tools_are_said_once() -> None:
    """Each in a few characters beyond its schema, however many there are."""
    format, marks = made(format_named("qwen3-coder"))
    functions = [{"name": f"find_{i}", "strict": True, "parameters": FIND} for i in range(100)]
    tools = [{"type": "function", "function": function} for function in functions]
    guard = guarded_calls(format, marks, tools, several=True)
    assert guard is not None
    assert len(guard.constraint.text) < 100 * (len(json.dumps(FIND)) + 2500)


def test_text_that_is_cut_off_from_its_tools() -> None:
    """Reasoning may stand before, in a message of its own."""
    format, marks = made(format_named("harmony"))
    constraint = forced_calls(format, marks, TOOLS, names=["now"], several=True)
    call = "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}"
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    samples = Samples(marks)
    assert samples.takes(constraint, marks.written(thought + call))
    assert samples.takes(constraint, marks.written(call))
    assert not samples.takes(constraint, marks.written(thought))
    parts = parse(format, marks, [marks.written(thought + call)], SCHEMAS)
    assert reasoning(parts) == "Hm."


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "anyOf": [{"required": ["a"]}]},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "a^b"}}},
        {"type": "object", "properties": {"a": {"type": ["string", "integer"]}}},
        {"type": "object", "properties": {"a<b": {"type": "integer"}}},
    ],
)
def test_a_strict_tool_that_tags_cannot_hold(parameters: Mapping[str, Any]) -> None:
    format, marks = made(format_named("qwen3-coder"))
    function = {"name": "find", "parameters": parameters}
    tools = [{"type": "function", "function": {**function, "strict": True}}]
    constraint = forced_calls(format, marks, tools, names=["find"], several=False)
    with pytest.raises(InvalidRequestError, match="enforced exactly"):
        Samples(marks).one(constraint, 0)
    loose = [{"type": "function", "function": function}]
    constraint = forced_calls(format, marks, loose, names=["find"], several=False)
    assert Samples(marks).takes(
        constraint,
        marks.written(
            "<tool_call>\n<function=find>\n<parameter=b>\nx\n</parameter>\n</function>\n</tool_call>"
        ),
    )
