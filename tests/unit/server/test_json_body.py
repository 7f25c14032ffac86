from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.server.api_error import ApiError
from unisono.server.http.body_shape import BodyShape
from unisono.server.http.json_body import parse_json
from unisono.server.openai.body_model import UnknownFields
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest
from unisono.server.openai.validation import validate

TOOL = {"type": "function", "function": {"name": "f"}}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def read(body: bytes) -> object:
    shape = BodyShape(max_depth=64, context=10_000)
    shape.feed_all(body)
    shape.check()
    return parse_json(bytearray(body))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1,}', "not valid JSON"),
        (b"[1, 2", "not valid JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"1" * 5000 + b"}", "too large"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\\ud800"}', "UTF-8"),
        (b"\xff\xfe{\x00}\x00", "UTF-8"),
        (b"[" * 65 + b"]" * 65, "64 levels"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "64 levels"),
        (b"[" * 1_000_000, "1000000 lists"),
        (b'{"a":[' * 500_000, "strings|lists"),
        (json.dumps({str(i): i for i in range(5000)}).encode(), "4096 keys"),
    ],
)
def test_bad_json_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(ApiError, match=says) as caught:
        read(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "value",
    [
        {"text": 'brackets in "text" [[[[ {{{{ \\ \\" do not count'},
        {"emoji": "😀 汉字"},
        [[[1, {"a": []}]]],
        "[" * 100,
        1e308,
    ],
)
def test_good_json_is_read(value: object) -> None:
    assert read(json.dumps(value).encode()) == value


def test_the_depth_that_is_allowed_is_allowed() -> None:
    read(b"[" * 64 + b"]" * 64)


@given(st.binary(max_size=60))
def test_random_bytes_never_break_the_parser(body: bytes) -> None:
    with contextlib.suppress(ApiError):
        read(body)


def chat(**fields: object) -> ChatRequest:
    return validate({**CHAT, **fields}, ChatRequest, UnknownFields(strict=True))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 5}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": 5, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "mood": "?"}]}, "messages[0].mood"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 10**9}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 2**40}, "max_tokens"),
        ({"stop": ["x"] * 65}, "stop"),
        ({"stop": "x" * 2000}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"seed": 2**63}, "seed"),
        ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"surprise": 1}, "surprise"),
        ({"stream_options": {"surprise": 1}}, "stream_options.surprise"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"messages": []}, "messages: Input should not be empty."),
        ({"messages": None}, "messages: This field is required."),
        ({"stop": ["x"] * 65}, "stop: Input should have at most 64 items."),
        ({"stop": "x" * 2000}, "stop: Input should have at most 1024 characters."),
        ({"cache_salt": ""}, "cache_salt: Input should not be empty."),
        (
            {"logit_bias": {str(i): 1 for i in range(1025)}},
            "logit_bias: Input should have at most 1024 items.",
        ),
    ],
)
def test_errors_speak_of_json(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    assert caught.value.message == says


def test_an_error_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(ApiError) as caught:
        chat(messages=[{"role": "user", "content": [["a secret"]]}])
    assert "secret" not in str(caught.value)


def test_harmless_fields_are_ignored() -> None:
    chat(
        user="u",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        parallel_tool_calls=True,
        response_format={"type": "text"},
        tool_choice="auto",
        modalities=["text"],
        audio=None,
        web_search_options=None,
        functions=None,
        temperature=None,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"functions": [{}]},
        {"audio": {"voice": "a"}},
        {"modalities": ["text", "audio"]},
        {"web_search_options": {}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    ],
)
def test_what_is_not_there_yet_is_said_to_be(fields: dict[str, object]) -> None:
    with pytest.raises(ApiError, match="supported") as caught:
        chat(**fields)
    assert (caught.value.status, caught.value.code) == (400, "not_supported")


@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_a_prompt_has_four_forms(prompt: object) -> None:
    assert validate({"model": "m", "prompt": prompt}, CompletionRequest).prompt == prompt


@pytest.mark.parametrize("prompt", [5, [], [[]], ["a", 1], [1, "a"], [[1], "a"], [-1], [1.5], None])
def test_other_prompts_are_refused(prompt: object) -> None:
    with pytest.raises(ApiError) as caught:
        validate({"model": "m", "prompt": prompt}, CompletionRequest)
    assert caught.value.param is not None
    assert caught.value.param.startswith("prompt")


def test_a_million_wrong_items_are_one_error() -> None:
    body = {"model": "m", "prompt": [1, *["a"] * 1_000_000]}
    with pytest.raises(ApiError):
        validate(body, CompletionRequest)


def test_best_of_is_allowed_where_it_says_nothing() -> None:
    body = {"model": "m", "prompt": "a", "n": 2}
    validate({**body, "best_of": 2, "suffix": None}, CompletionRequest)
    with pytest.raises(ApiError, match="best_of"):
        validate({**body, "best_of": 3}, CompletionRequest)
