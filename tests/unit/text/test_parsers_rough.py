"""Answers that are not as they should be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.answers import (
    LETTERS,
    MarkTokenizer,
    calls,
    content,
    marks_of,
    parse,
    reasoning,
    without_ids,
    written,
)
from tests.recorded_answers import RECORDED, SCHEMAS
from tests.waiting import computing_at_most
from unisono.text.parts import Part

FORMATS = {recorded.name: recorded.format for recorded in RECORDED}
TOKENS = MarkTokenizer(None)
SPOKEN = MarkTokenizer(None, special=False)


def read(name: str, text: str, tokenizer: MarkTokenizer = LETTERS, **options: Any) -> list[Part]:
    format = FORMATS[name]
    marks = marks_of(format, tokenizer)
    text = written(text, format, marks)
    whole = parse(format, marks, [text], SCHEMAS, **options)
    assert without_ids(parse(format, marks, text, SCHEMAS, **options)) == without_ids(whole)
    return whole


def arguments(name: str, text: str, tokenizer: MarkTokenizer = LETTERS) -> str:
    (call,) = calls(read(name, text, tokenizer))
    assert call.name == "find"
    return call.arguments


def hermes(object: str) -> str:
    return arguments("hermes", f"<tool_call>{object}</tool_call>")


@pytest.mark.parametrize("rest", ["</tool_c", "\n</tool_c", "\n<", "\n<tool_cal"])
def test_a_mark_that_breaks_off_behind_a_call(rest: str) -> None:
    """It is no text; behind text it is."""
    hermes = next(one for one in RECORDED if one.name == "hermes")
    marks = marks_of(hermes.format, LETTERS)
    call = '<tool_call>{"name": "now", "arguments": {}}'
    for pieces in ([call + rest], [*call, *rest]):
        parts = parse(hermes.format, marks, pieces, SCHEMAS)
        assert not content(parts)
        assert len(calls(parts)) == 1
    parts = parse(hermes.format, marks, [f"{call}</tool_call>So{rest}"], SCHEMAS)
    assert content(parts) == f"So{rest}"


@pytest.mark.parametrize(
    ("object", "expected"),
    [
        ('{"arguments": {"a": 1}, "name": "find"}', '{"a": 1}'),
        ('{"name": "find", "arguments": "{\\"a\\": \\"\\u00fc\\"}"}', '{"a": "ü"}'),
        ('{"name": "find", "arguments": ""}', "{}"),
        ('{"name": "find", "arguments": null}', "{}"),
        ('{"name": "find", "arguments": }', "{}"),
        ('{"name": "find"}', "{}"),
        ('{"id": {"name": "x"}, "name": "find", "parameters": {}, "more": [1]}', "{}"),
        ('{"type": "function", "function": {"name": "find", "arguments": {"a": 1}}}', '{"a": 1}'),
        ('{"function": "find", "arguments": {}}', "{}"),
        ('{"find": {"a": 1}}', '{"a": 1}'),
        ('{"name": "find", "name": "now", "arguments": {}, "arguments": {"b": 2}}', "{}"),
        (
            '{"name": "find", "arguments": {"a": "</tool_call>\\" {["}}',
            '{"a": "</tool_call>\\" {["}',
        ),
        ('{"name": "find", "arguments": {"a": 1, "a": 2}}', '{"a": 1, "a": 2}'),
        ('{"name": "find", "arguments": {}}}', "{}"),
    ],
)
def test_objects_of_other_forms(object: str, expected: str) -> None:
    assert hermes(object) == expected


def test_an_unknown_name_is_a_call() -> None:
    (call,) = calls(read("hermes", '<tool_call>{"name": "nope", "arguments": {}}</tool_call>'))
    assert call.name == "nope"


@pytest.mark.parametrize("text", ['{"name": 3}', '{"name": ""}', "find", '{"a": 1}', '"x"'])
def test_what_is_no_call_is_text(text: str) -> None:
    marked = f"See <tool_call>{text}</tool_call>, said I."
    assert without_ids(read("hermes", marked)) == [("content", marked)]
    plain = [("content", f"See {text}, said I.")]
    assert without_ids(read("hermes", marked, TOKENS)) == plain
    assert without_ids(read("hermes", marked, SPOKEN)) == [("content", marked)]


def test_a_mark_alone_among_words() -> None:
    text = "The mark <tool_call> begins a call, and </tool_call> ends it."
    assert content(read("hermes", text)) == text


def test_tokens_inside_strings() -> None:
    """A token's name may hold quotes."""
    call = '<tool_call>{"name": "find", "arguments": {"a": "x</tool_call>y"}}</tool_call>'
    assert arguments("hermes", call, SPOKEN) == '{"a": "x</tool_call>y"}'
    assert arguments("hermes", call, TOKENS) == '{"a": "xy"}'
    quote = '<|tool_call>call:find{place:<|"|>a<tool_call|><|"|>}<tool_call|>'
    assert json.loads(arguments("gemma4", quote, SPOKEN)) == {"place": "a<tool_call|>"}


def test_a_token_ends_what_breaks_off() -> None:
    broken = '<tool_call>{"name": "find", "arguments": {"a": 1</tool_call> So.'
    expected = [("call", "find", '{"a": 1'), ("content", "So.")]
    assert without_ids(read("hermes", broken, TOKENS)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So. <tool", [("content", "So. <tool")]),
        ("So. <tool_call>", [("content", "So.")]),
        ('So. <tool_call>{"name": "fi', [("content", "So.")]),
        ('So. <tool_call>{"arguments": {"a": 1}, "na', [("content", "So.")]),
        ('<tool_call>{"name": "find", "argu', [("call", "find", "")]),
        ('<tool_call>{"name": "find", "arguments": {"a": "x', [("call", "find", '{"a": "x')]),
        ('<tool_call>{"name": "find", "arguments": {}', [("call", "find", "{}")]),
    ],
)
def test_a_call_that_breaks_off(text: str, expected: list[tuple[str, ...]]) -> None:
    """Gives what has come of it; before its name is known, nothing."""
    assert without_ids(read("hermes", text)) == expected


def test_a_list_of_no_calls() -> None:
    assert read("hermes", "<tool_call>[]</tool_call>") == []
    assert content(read("general", "[]")) == "[]"


def test_a_call_inside_reasoning() -> None:
    text = 'Hm. <tool_call>{"name": "now"}</tool_call> So.</think> Done.'
    assert without_ids(read("hermes", text, is_thinking=True)) == [
        ("reasoning", "Hm."),
        ("call", "now", "{}"),
        ("reasoning", "So."),
        ("content", "Done."),
    ]
    mention = "Shall I write <tool_call> now? No.</think>Done."
    parts = read("hermes", mention, is_thinking=True)
    assert (reasoning(parts), content(parts)) == (mention.partition("</think>")[0], "Done.")


def test_reasoning_twice() -> None:
    text = "<think>a</think><think>b</think>c <think>d</think>"
    assert content(read("hermes", text)) == "c <think>d</think>"
    assert reasoning(read("hermes", text, TOKENS)) == "abd"


def test_marks_left_over() -> None:
    text = '<tool_call>{"name": "now"}</tool_call>\n</tool_call>\nDone.'
    assert without_ids(read("hermes", text)) == [("call", "now", "{}"), ("content", "Done.")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("null", '{"place": "null", "count": null}'),
        ("03", '{"place": "03", "count": 3}'),
        ("1e999", '{"place": "1e999", "count": 1e999}'),
        ("True", '{"place": "True", "count": true}'),
        ("'x", '{"place": "\'x", "count": "\'x"}'),
        ("", '{"place": "", "count": ""}'),
        ("NaN", '{"place": "NaN", "count": "NaN"}'),
        ("9" * 5000, f'{{"place": "{"9" * 5000}", "count": {"9" * 5000}}}'),
        ("</arg_val", '{"place": "</arg_val", "count": "</arg_val"}'),
    ],
)
def test_values_by_the_schema(text: str, expected: str) -> None:
    keys = ("place", "count")
    members = (f"<arg_key>{k}</arg_key><arg_value>{text}</arg_value>" for k in keys)
    assert arguments("glm", f"<tool_call>find{''.join(members)}</tool_call>") == expected


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("{'a': (1, None), 2: [True,]}", {"a": [1, None], "2": [True]}),
        (r"'it\'s \x41\u00fc\n'", "it's Aü\n"),
        (r'"\ud83d\ude00 \ud83d"', "😀 \ufffd"),
        ("-3.50", -3.5),
        ("1_000", 1000),
        ("open('x').read()", "open('x').read()"),
        ("[" * 100 + "]" * 100, "[" * 100 + "]" * 100),
        ("2**999999999", "2**999999999"),
    ],
)
def test_literals(literal: str, expected: object) -> None:
    call = f"<|tool_call_start|>[find(deep={literal})]<|tool_call_end|>"
    assert json.loads(arguments("lfm2", call)) == {"deep": expected}


def test_positional_arguments() -> None:
    call = "<|tool_call_start|>[find('x', 3, deep={})]<|tool_call_end|>"
    assert json.loads(arguments("lfm2", call)) == {"place": "x", "count": 3, "deep": {}}


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Alice", "age": 3}',
        '  {"a": 1}\n',
        "[1, 2]",
        "[find]",
        '{"na',
        "<|python_tag|>print(1)",
    ],
)
def test_answers_that_look_like_bare_calls(text: str) -> None:
    assert without_ids(read("llama", text)) == [("content", text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi <b>.", [("content", "Hi <b>.")]),
        ("<|channel|>final<|message|>Hi", [("content", "Hi")]),
        ("<|channel|>analysis<|message|>Hm", [("reasoning", "Hm")]),
        ("<|channel|>fin", []),
        ("<|channel|>analysis to=python code<|message|>1+1<|call|>", [("reasoning", "1+1")]),
        ("<|channel|>commentary to=functions.now<|message|>", [("call", "now", "")]),
        ("<|channel|>commentary to=functions.now<|message|><|call|>", [("call", "now", "{}")]),
        (
            "<|channel|>analysis<|message|>Hm<|channel|>final<|message|>A<|end|>",
            [("reasoning", "Hm"), ("content", "A")],
        ),
        (
            "<|channel|>commentary<|message|>A.<|end|><|start|>assistant<|channel|>final<|message|>B.",
            [("content", "A.\n\nB.")],
        ),
    ],
)
def test_harmony(text: str, expected: list[tuple[str, ...]]) -> None:
    assert without_ids(read("harmony", text, TOKENS)) == expected
    assert without_ids(read("harmony", text)) == expected


def test_functionary_and_the_prompt_of_python() -> None:
    text = "all\nIn a shell:\n>>> 1+1\n>>>now\n{}"
    assert without_ids(read("functionary-v3.2", text)) == [
        ("content", "In a shell:\n>>> 1+1"),
        ("call", "now", "{}"),
    ]


def test_without_tools_calls_are_text() -> None:
    format = FORMATS["hermes"]
    text = '<think>Hm.</think><tool_call>{"name": "now"}</tool_call>'
    parts = parse(format, marks_of(format, LETTERS, with_calls=False), [text], {})
    assert without_ids(parts) == [("reasoning", "Hm."), ("content", text[18:])]


_CALL = '<tool_call>{"name": "find", "arguments": '
HOSTILE = {
    "words": "word " * 20_000,
    "spaces": " " * 100_000,
    "angles": "<" * 100_000,
    "marks": "<tool_call>" * 10_000,
    "strings": '<tool_call>{"x":"' * 6_000,
    "functions": "<tool_call>" + '{"function":' * 10_000,
    "depth": _CALL + "[" * 10_000 + "]" * 10_000 + "}</tool_call>",
    "objects": _CALL + '{"a": [' + "{}," * 30_000,
    "waiting": '<tool_call>{"arguments": [' + "{}," * 30_000 + '1], "name": "find"}</tool_call>',
    "calls": (_CALL + "{}}</tool_call>") * 2_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_answers_cost_what_their_length_does(text: str) -> None:
    """Were each letter to cost what stands before it, these would take hours."""
    with computing_at_most(60):
        read("hermes", text)


@pytest.mark.parametrize("name", ["lfm2", "gemma4", "glm", "qwen3-coder", "minimax-m3", "kimi-k3"])
def test_hostile_values(name: str) -> None:
    recorded = next(recorded for recorded in RECORDED if recorded.name == name)
    begin, _, _ = recorded.calls.partition('"b"')
    with computing_at_most(60):
        read(name, begin + "[{('</" * 20_000)


@pytest.mark.parametrize(
    "name", ["qwen3-coder", "minicpm5", "functionary-v3.1", "functools", "glm"]
)
def test_letters_of_marks_in_plain_text(name: str) -> None:
    (*_, mark) = FORMATS[name].opens  # type: ignore[attr-defined]
    text = f"The letters {mark} are only\nsaid, and so is {mark} here.\n\nThat is all."
    assert content(read(name, text)) == text


def test_bare_calls_behind_reasoning() -> None:
    text = '<think>Hm.</think>\n{"name": "now", "parameters": {}}'
    expected = [("reasoning", "Hm."), ("call", "now", "{}")]
    assert without_ids(read("llama", text)) == expected


def test_many_arguments() -> None:
    with computing_at_most(60):
        read("lfm2", f"<|tool_call_start|>[find({'a=1, ' * 10_000})]<|tool_call_end|>")


@pytest.mark.parametrize("name", ["kimi-k2", "deepseek", "hy3", "qwen3-coder"])
def test_a_second_call_without_a_name(name: str) -> None:
    """The parts behind it are the same, however much of it was there at once."""
    recorded = next(recorded for recorded in RECORDED if recorded.name == name)
    begin, found, _ = recorded.calls.rpartition("now")
    assert found
    parts = read(name, f"{begin}no name {'at all ' * 50}")
    assert [call.name for call in calls(parts)] == ["find"]
