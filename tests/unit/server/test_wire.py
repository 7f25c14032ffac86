from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.core import EngineConfig, Request, RequestOutput, SamplingParams, TokenLogprob, errors
from unisono.core.codec import ProtocolError
from unisono.core.constraint import Constraint, ReasoningBudget
from unisono.core.frames import FrameBuffer, encode_frame
from unisono.core.pooling import Pooling
from unisono.server.engine.wire import (
    FROM_ENGINE,
    TO_ENGINE,
    Abort,
    Add,
    Beat,
    EngineFacts,
    Failed,
    Ready,
    Start,
    Step,
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
        min_tokens=1,
        temperature=0.5,
        top_k=3,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=2,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        include_stop_str_in_output=True,
        skip_special_tokens=False,
        ignore_eos=True,
        n=2,
        seed=8,
        prompt_logprobs=1,
        thinking_token_budget=7,
    ),
    seed=(1 << 63) - 1,
    priority=-3,
    tenant="t",
    resumed_token_ids=(9,),
    pooling=Pooling(kind="tokens", normalize=True, dimensions=5, token_ids=(4, 6)),
    cache_salt="s",
    adapter="a",
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


STEP = Step([OUTPUT], [("x", errors.InvalidRequestError("No.", param="n"))], {"steps": 3})
START = Start(Path("/m"), EngineConfig(max_num_seqs=3, max_model_len=77), 0.5)
READY = Ready(EngineFacts(max_model_len=5, vocab_size=7, note="slow"))


def over_the_wire(message: object) -> Any:
    (found,) = FrameBuffer(*TO_ENGINE, *FROM_ENGINE).feed(encode_frame(message))
    return found


def raw(message: object) -> list[Any]:
    fields: list[Any] = msgpack.unpackb(encode_frame(message)[4:], strict_map_key=False)
    return fields


def read(fields: list[Any]) -> Any:
    body = msgpack.packb(fields)
    (found,) = FrameBuffer(*TO_ENGINE, *FROM_ENGINE).feed(struct.pack("<I", len(body)) + body)
    return found


def test_a_request_survives_the_wire() -> None:
    other = replace(REQUEST, id="s", prompt_token_ids=(4,))
    requests = [REQUEST, replace(REQUEST, id="q"), other, replace(REQUEST, id="p")]
    assert over_the_wire(Add.of(requests)).whole_requests() == requests


def test_every_field_of_a_request_crosses() -> None:
    """Whatever fields there are: none has its default here."""
    for record in (REQUEST, REQUEST.params):
        for field in fields(record):
            if field.default is not MISSING and field.name != "constraint":
                assert getattr(record, field.name) != field.default, field.name
    assert over_the_wire(Add.of([REQUEST])).whole_requests() == [REQUEST]
    budget = ReasoningBudget(3, 5, 4, is_open=True)
    constraint = Constraint(
        "schema", "{}", after_token_id=5, budget=budget
    )  # and what does not go with it
    params = replace(REQUEST.params, constraint=constraint, min_tokens=0, ignore_eos=False)
    constrained = replace(REQUEST, params=params)
    assert over_the_wire(Add.of([constrained])).whole_requests() == [constrained]


def test_answers_to_one_prompt_carry_it_once() -> None:
    prompt = tuple(range(10_000))
    alone = [replace(REQUEST, prompt_token_ids=prompt)]
    many = [replace(REQUEST, prompt_token_ids=prompt, id=str(i)) for i in range(32)]
    size = len(encode_frame(Add.of(many)))
    assert size < len(encode_frame(Add.of(alone))) + 32 * 1000
    found = over_the_wire(Add.of(many)).whole_requests()
    assert all(one.prompt_token_ids is found[0].prompt_token_ids for one in found)


def test_a_prompt_that_is_not_there_is_refused() -> None:
    message = Add.of([REQUEST])
    for indices in ([-1], [1], [], [0, 0]):
        wrong = over_the_wire(replace(message, prompt_indices=indices))
        with pytest.raises(ProtocolError):
            wrong.whole_requests()


def test_an_output_survives_the_wire() -> None:
    rejection = ("x", errors.QueueFullError("Full.", retry_after_s=9, hint="Wait."))
    step = over_the_wire(Step([OUTPUT], [rejection], {"steps": 3, "oldest_wait_s": 0.5}))
    assert step.outputs == [OUTPUT]
    assert step.stats == {"steps": 3, "oldest_wait_s": 0.5}
    ((name, error),) = step.rejected
    assert name == "x"
    assert isinstance(error, errors.QueueFullError)
    assert (error.message, error.hint, error.retry_after_s) == ("Full.", "Wait.", 9)


@pytest.mark.parametrize("message", [START, READY, Abort(["a", "b"]), Beat()])
def test_other_messages_survive_the_wire(message: object) -> None:
    assert over_the_wire(message) == message


def test_what_kept_the_engine_from_loading_survives_the_wire() -> None:
    found = over_the_wire(Failed(errors.CheckpointError("Cut.", hint="Fetch.")))
    assert type(found.error) is errors.CheckpointError
    assert str(found.error) == "Cut. Fetch."


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner),
)
KINDS = [kind.__name__ for kind in (*TO_ENGINE, *FROM_ENGINE)]


@given(st.lists(json_like, max_size=8), st.sampled_from(KINDS))
def test_messages_of_a_wrong_shape_are_refused(rest: list[object], kind: str) -> None:
    with contextlib.suppress(ProtocolError):
        read([kind, *rest])


@given(st.data())
def test_a_message_with_something_else_in_it_is_refused_or_read(data: st.DataObject) -> None:
    """Each value of a message, however deep, is replaced by any other."""
    message = raw(data.draw(st.sampled_from([START, READY, STEP, Add.of([REQUEST])])))
    place: Any = message
    index: Any = data.draw(st.integers(1, len(message) - 1))
    while (inner := place[index]) and isinstance(inner, list | dict) and data.draw(st.booleans()):
        place = inner
        index = data.draw(
            st.sampled_from(list(inner if isinstance(inner, dict) else range(len(inner))))
        )
    place[index] = data.draw(json_like)
    with contextlib.suppress(ProtocolError):
        read(message)


@pytest.mark.parametrize(
    ("params", "says"), [({"n": 0}, "out of range"), ({"stop": ["a"] * 65}, "out of range")]
)
def test_parameters_out_of_range_are_refused(params: dict[str, Any], says: str) -> None:
    message = raw(Add.of([REQUEST]))
    fields_of_params = message[3][0][2]
    for name, value in params.items():
        fields_of_params[[field.name for field in fields(SamplingParams)].index(name)] = value
    with pytest.raises(ProtocolError, match=says):
        read(message)


def test_nothing_here_can_unpickle() -> None:
    import unisono.core
    import unisono.server

    forbidden = re.compile(
        r"^\s*(import|from) (pickle|cloudpickle|dill|marshal|shelve|torch)\b", re.M
    )
    for room in (unisono.core, unisono.server):
        for file in Path(room.__path__[0]).rglob("*.py"):
            assert not forbidden.search(file.read_text(encoding="utf-8")), file.name
