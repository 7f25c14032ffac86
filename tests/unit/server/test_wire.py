from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.core import EngineConfig, Request, RequestOutput, SamplingParams, TokenLogprob, errors
from unisono.server.engine.outputs import decode_facts, decode_step, encode_output
from unisono.server.engine.wire import (
    FrameBuffer,
    ProtocolError,
    decode_error,
    decode_requests,
    decode_start,
    encode_error,
    encode_frame,
    encode_requests,
    encode_start,
)

REQUEST = Request(
    id="r",
    prompt_token_ids=(1, 2, 3),
    params=SamplingParams(
        max_tokens=5,
        stop=("a", "b"),
        allowed_token_ids=(5, 7),
        logit_bias={7: -1.5},
        stop_token_ids=(4,),
        logprobs=2,
    ),
    seed=(1 << 63) - 1,
    priority=-3,
    tenant="t",
    resumed_token_ids=(9,),
    cache_salt="s",
)
OUTPUT = RequestOutput(
    "r",
    [5, 6],
    logprobs=[TokenLogprob(5, -1.0, 1, ((5, -1.0), (8, -2.5))), TokenLogprob(6, -0.5, 2)],
    prompt_logprobs=[None, TokenLogprob(2, float("-inf"), 4)],
    finish_reason="stop",
    stop_token_id=6,
    num_cached_tokens=2,
)


def over_the_wire(message: list[object]) -> list[object]:
    (found,) = FrameBuffer().feed(encode_frame(message))
    return found


def test_a_request_survives_the_wire() -> None:
    other = replace(REQUEST, id="s", prompt_token_ids=(4,))
    requests = [REQUEST, replace(REQUEST, id="q"), other, replace(REQUEST, id="p")]
    assert decode_requests(over_the_wire(encode_requests(requests))) == requests


def test_answers_to_one_prompt_carry_it_once() -> None:
    prompt = tuple(range(10_000))
    alone = [replace(REQUEST, prompt_token_ids=prompt)]
    many = [replace(REQUEST, prompt_token_ids=prompt, id=str(i)) for i in range(32)]
    size = len(encode_frame(encode_requests(many)))
    assert size < len(encode_frame(encode_requests(alone))) + 32 * 1000
    found = decode_requests(over_the_wire(encode_requests(many)))
    assert all(one.prompt_token_ids is found[0].prompt_token_ids for one in found)


def test_a_prompt_that_is_not_there_is_refused() -> None:
    _, _, (fields,) = encode_requests([REQUEST])
    for index in (-1, 1):
        with pytest.raises(ProtocolError):
            decode_requests(["add", [[1]], [[fields[0], index, *fields[2:]]]])


def test_an_output_survives_the_wire() -> None:
    rejection = ["x", encode_error(errors.QueueFullError("Full.", retry_after_s=9, hint="Wait."))]
    message = ["step", [encode_output(OUTPUT)], [rejection], {"steps": 3, "oldest_wait_s": 0.5}]
    step = decode_step(over_the_wire(message))
    assert step.outputs == [OUTPUT]
    assert step.stats == {"steps": 3, "oldest_wait_s": 0.5}
    ((name, error),) = step.rejected
    assert name == "x"
    assert isinstance(error, errors.QueueFullError)
    assert (error.message, error.hint, error.retry_after_s) == ("Full.", "Wait.", 9)


def test_the_start_survives_the_wire() -> None:
    config = EngineConfig(max_num_seqs=3, max_model_len=77)
    assert decode_start(over_the_wire(encode_start(Path("/m"), config, 0.5))) == (
        Path("/m"),
        config,
        0.5,
    )


@pytest.mark.parametrize("name", sorted(errors.__all__))
def test_every_error_survives_the_wire(name: str) -> None:
    kind = getattr(errors, name)
    extra = {"retry_after_s": 2} if name == "QueueFullError" else {}
    found = decode_error(encode_error(kind("What.", hint="Do.", **extra)))
    assert type(found) is kind
    assert str(found) == "What. Do."


def test_the_wrong_field_survives_the_wire() -> None:
    found = decode_error(encode_error(errors.ContextLengthError("Long.", param="prompt")))
    assert isinstance(found, errors.ContextLengthError)
    assert found.param == "prompt"


def test_an_error_of_a_kind_of_its_own_becomes_its_base() -> None:
    class Special(errors.EngineDeadError):
        pass

    assert type(decode_error(encode_error(Special("Gone.")))) is errors.EngineDeadError


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 7))
def test_frames_come_out_however_they_are_cut(parts: list[bytes], size: int) -> None:
    messages = [["m", part] for part in parts]
    stream = b"".join(encode_frame(message) for message in messages)
    buffer = FrameBuffer()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [message for piece in pieces for message in buffer.feed(piece)] == messages


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_wait_for_more(content: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        list(FrameBuffer().feed(content))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner),
)


@given(st.lists(json_like, max_size=8), st.sampled_from(["start", "step", "ready", "add"]))
def test_messages_of_a_wrong_shape_are_refused(rest: list[object], kind: str) -> None:
    for decode in (decode_start, decode_step, decode_facts, decode_requests, decode_error):
        with contextlib.suppress(ProtocolError):
            decode([kind, *rest])


def test_a_huge_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match="larger"):
        list(FrameBuffer().feed(struct.pack("<I", 0xFFFFFFFF)))


@pytest.mark.parametrize("value", [b"", {"a": 1}, [], [1], 5, "text"])
def test_a_frame_that_is_no_message_is_refused(value: object) -> None:
    body = msgpack.packb(value)
    with pytest.raises(ProtocolError):
        list(FrameBuffer().feed(struct.pack("<I", len(body)) + body))


def test_nothing_here_can_unpickle() -> None:
    import unisono.server

    forbidden = re.compile(
        r"^\s*(import|from) (pickle|cloudpickle|dill|marshal|shelve|torch)\b", re.M
    )
    for file in Path(unisono.server.__file__).parent.rglob("*.py"):
        assert not forbidden.search(file.read_text(encoding="utf-8")), file.name
