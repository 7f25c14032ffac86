"""The messages between the ranks of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unisono.core import Batch, BatchRow, EngineConfig, SamplingParams
from unisono.core.frames import FrameBuffer, ProtocolError, encode_frame
from unisono.engine.ranks.wire import RankStart, decode_step, encode_step

START = RankStart(
    folder=Path("/m"),
    config=EngineConfig(device="cpu", tensor_parallel=2, max_model_len=64),
    device="cpu",
    rank=1,
    meeting_place=Path("/t/meeting"),
)


def over_the_wire(message: list[Any]) -> list[Any]:
    (found,) = FrameBuffer().feed(encode_frame(message))
    return found


def test_a_start_survives_the_wire() -> None:
    assert RankStart.decode(over_the_wire(START.encode())) == START


def test_a_step_brings_what_the_forward_pass_needs_and_no_more() -> None:
    row = BatchRow(
        request_id="secret",
        token_ids=[7, 8, 9],
        start=4,
        block_tables=[[1, 2], [0, 3]],
        num_logits=0,
        params=SamplingParams(temperature=0.3),
        seed=5,
        num_prompt_tokens=9,
        all_token_ids=[1] * 9,
        prompt_targets=[8, 9],
        rope_length=33,
    )
    message = over_the_wire(encode_step(Batch([row])))
    assert message == ["step", [[[7, 8, 9], 4, [[1, 2], [0, 3]], 0, 2, 33]]]
    (found,) = decode_step(message).rows
    assert (found.token_ids, found.start, found.end) == (row.token_ids, row.start, row.end)
    assert (found.block_tables, found.num_logits) == (row.block_tables, row.num_logits)
    assert len(found.prompt_targets) == len(row.prompt_targets)
    assert found.rope_length == 33


@pytest.mark.parametrize(
    "message",
    [
        ["step"],
        ["step", 1],
        ["step", [1]],
        ["step", [[[1], 0, [[1]], "1", 0, 0]]],
        ["dance"],
        START.encode(),
    ],
)
def test_a_message_that_is_no_step(message: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        decode_step(message)


@pytest.mark.parametrize(
    "message",
    [
        ["start"],
        [*START.encode(), 1],
        ["start", "/m", {"tensor_parallel": 0}, "cpu", 1, "/t"],
        ["start", "/m", {"unknown": 0}, "cpu", 1, "/t"],
        ["start", "/m", {}, "cpu", "1", "/t"],
    ],
)
def test_a_message_that_is_no_start(message: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        RankStart.decode(message)
