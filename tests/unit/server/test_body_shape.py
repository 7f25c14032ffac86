"""Bodies that would cost much are counted, not made; what passes is what clients send."""

from __future__ import annotations

import itertools
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import computing_at_most
from unisono.server.api_error import ApiError
from unisono.server.http.body_shape import BodyShape
from unisono.server.openai.message_schema import ChatMessage
from unisono.server.openai.plain_messages import plain_messages

SIZE = 8 << 20

WORST = {
    "token ids": (b'{"prompt": [' + b"1," * (SIZE // 2) + b"1]}", "4194305 items"),
    "spread token ids": (b"[" + b"1 , " * 5000 + b"1]", "5001 items"),
    "empty lists": (b"[" + b"[]," * (SIZE // 3) + b"[]]", "lists and objects"),
    "short lists": (b"[" + b"[1,1]," * (SIZE // 6) + b"[1]]", "lists and objects"),
    "deep lists": (b"[" * (SIZE // 2) + b"]" * (SIZE // 2), "lists and objects"),
    "a little too deep": (b"[" * 65 + b"]" * 65, "64 levels"),
    "deep and never closed": (b'{"a":' * 65, "64 levels"),
    "far too deep and hardly closed": (b"[" * 60_000 + b"]" * 9, "64 levels"),
    "many keys": (b"{" + b'"a":1,' * (SIZE // 6) + b'"b":1}', "strings"),
    "many texts": (b"[" + b'"",' * (SIZE // 3) + b'""]', "strings"),
    "many messages": (
        b'{"messages": [' + b",".join([b'{"role":"user","content":"a"}'] * 65536) + b"]}",
        "strings",
    ),
    "huge logit_bias": (
        json.dumps({"logit_bias": {str(i): 1 for i in range(300_000)}}).encode(),
        "strings",
    ),
}


def check(body: bytes) -> None:
    shape = BodyShape(max_depth=64, context=4096)
    shape.feed_all(body)
    shape.check()


@pytest.mark.parametrize("name", WORST)
def test_the_worst_bodies_are_refused_for_little(name: str) -> None:
    body, says = WORST[name]
    # made into objects, some of these take longer
    with computing_at_most(3), pytest.raises(ApiError, match=says) as caught:
        check(body)
    assert caught.value.status == 400
    tracemalloc.start()
    with pytest.raises(ApiError):
        check(body)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": [1] * 4096},
        {"prompt": [[1] * 4000] * 60},
        {"prompt": "[1,2,3," * 20_000},
        {"prompt": '"\\"[{' * 20_000},
        {"messages": [{"role": "user", "content": "a, b" * 100}] * 4096},
        {"tools": [{"function": {"parameters": {str(i): {} for i in range(100)}}}] * 128},
    ],
)
def test_what_clients_send_passes(value: object) -> None:
    check(json.dumps(value).encode())


def test_the_error_of_a_long_list_says_how_long_the_context_is() -> None:
    with pytest.raises(ApiError, match="maximum context length is 4096 tokens") as caught:
        check(b"[" + b"1," * 5000 + b"1]")
    assert caught.value.code == "context_length_exceeded"


def say(body: bytes, *cuts: int) -> str:
    """The verdict on a body that arrives in pieces."""
    shape = BodyShape(max_depth=3, context=5)
    ends = sorted({min(cut, len(body)) for cut in cuts})
    for start, end in itertools.pairwise([0, *ends, len(body)]):
        shape.feed(body[start:end])
    try:
        shape.check()
    except ApiError as error:
        return error.message
    return ""


JSON_BYTES = st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b",", b'"', b"\\", b"a", b"1,1"]))


@given(JSON_BYTES.map(b"".join), st.lists(st.integers(0, 40), max_size=6))
def test_where_a_body_is_cut_changes_nothing(body: bytes, cuts: list[int]) -> None:
    assert say(body, *cuts) == say(body)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'["\\\\", "[[[[[[["]', ""),
        (b'["\\"[[[[[[", 1]', ""),
        (b'["\\\\"[[[[]]]]]', "3 levels"),
        (b"[[[]]][[[]]]", ""),
        (b"[1,1,1,1,1]", ""),
        (b"[1,1,1,1,1,1]", "6 items"),
        (b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}', ""),
        (b"[[1,1,1,1],1,1,1,1]", ""),
        (b'["1,1,1,1,1,1",1]', ""),
    ],
)
def test_what_is_text_is_told_from_what_is_not(body: bytes, says: str) -> None:
    for cuts in ([], [1], range(len(body))):
        found = say(body, *cuts)
        assert says in found
        assert bool(says) == bool(found)


def test_what_is_refused_is_no_longer_needed() -> None:
    shape = BodyShape(max_depth=64, context=4096)
    shape.feed(b"[" * 65536)
    assert not shape.is_refused
    shape.feed(b"[")
    assert shape.is_refused


def test_arguments_of_tool_calls_are_counted_before_they_are_made() -> None:
    def message(arguments: str, num_calls: int = 1) -> ChatMessage:
        call = {"function": {"name": "f", "arguments": arguments}}
        return ChatMessage.model_validate({"role": "assistant", "tool_calls": [call] * num_calls})

    plain = plain_messages([message('{"a": [[], "' + "[," * 100_000 + '"]}')])
    assert plain[0]["tool_calls"][0]["function"]["arguments"]["a"][0] == []
    for arguments, num_calls in (("[" + "[]," * 70_000 + "1]", 1), ("[" + "[]," * 700 + "1]", 100)):
        with pytest.raises(ApiError, match="arguments of tool calls") as caught:
            plain_messages([message(arguments, num_calls)])
        assert caught.value.status == 400
