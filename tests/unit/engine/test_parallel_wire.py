"""The messages between the ranks of an engine."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from unisono.core import Batch, BatchRow, EngineConfig, SamplingParams
from unisono.core.codec import ProtocolError
from unisono.core.frames import FrameBuffer, encode_frame
from unisono.engine.ranks.wire import TO_RANK, Start, Step
from unisono.engine.seats import SeatedTables, Seats

START = Start(
    folder=Path("/m"),
    config=EngineConfig(device="cpu", tensor_parallel=2, max_model_len=64),
    device="cpu",
    rank=1,
    meeting_place=Path("/t/meeting"),
)


def raw(message: object) -> list[Any]:
    fields: list[Any] = msgpack.unpackb(encode_frame(message)[4:])
    return fields


def read(fields: list[Any]) -> Any:
    body = msgpack.packb(fields)
    (found,) = FrameBuffer(*TO_RANK).feed(struct.pack("<I", len(body)) + body)
    return found


def test_a_start_survives_the_wire() -> None:
    assert read(raw(START)) == START


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
    seats, tables = Seats(2), SeatedTables(2)
    message = raw(Step.of(Batch([row]), seats))
    changes = [[0, 0, 1], [0, 1, 2], [1, 0, 0], [1, 1, 3]]
    assert message == ["Step", [[[7, 8, 9], 4, 0, changes, 0, 2, 33, [], ""]]]
    (found,) = read(message).batch(tables).rows
    assert (found.token_ids, found.start, found.end) == (row.token_ids, row.start, row.end)
    assert (found.block_tables, found.num_logits) == (row.block_tables, row.num_logits)
    assert len(found.prompt_targets) == len(row.prompt_targets)
    assert found.rope_length == 33
    grown = replace(row, token_ids=[5], start=7, block_tables=[[1, 2], [0, 3, 6]])
    message = raw(Step.of(Batch([grown]), seats))
    assert message == ["Step", [[[5], 7, 0, [[1, 2, 6]], 0, 2, 33, [], ""]]]
    assert read(message).batch(tables).rows[0].block_tables == grown.block_tables


@pytest.mark.parametrize(
    ("seat", "changes"),
    [
        (1, []),
        (-1, []),
        (0, [[2, 0, 1]]),
        (0, [[-1, 0, 1]]),
        (0, [[0, 1, 1]]),
        (0, [[0, -1, 1]]),
    ],
)
def test_a_change_of_a_table_that_is_not_there(seat: int, changes: list[list[int]]) -> None:
    step = read(["Step", [[[1], 0, seat, changes, 1, 0, 0, [], ""]]])
    with pytest.raises(ProtocolError, match="block table"):
        step.batch(SeatedTables(2))


@pytest.mark.parametrize(
    "message",
    [
        ["Step"],
        ["Step", 1],
        ["Step", [1]],
        ["Step", [[[1], 0, 0, [], "1", 0, 0, [], ""]]],
        ["Step", [[[1.5], 0, 0, [], 1, 0, 0, [], ""]]],
        ["Step", [[[1], 0, 0, [[0, 0, "1"]], 1, 0, 0, [], ""]]],
        ["Step", [[[1], 0, 0, [[0, 0]], 1, 0, 0, [], ""]]],
        ["Dance"],
    ],
)
def test_a_message_that_is_no_step(message: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        read(message)


def wrong_starts() -> list[list[Any]]:
    kind, folder, config, *rest = raw(START)
    ranks = config.index(2)
    without = [*config[:ranks], 0, *config[ranks + 1 :]]
    return [
        ["Start"],
        [kind, folder, config, *rest, 1],
        [kind, folder, without, *rest],
        [kind, folder, [*config, 0], *rest],
        [kind, folder, {}, *rest],
        [kind, folder, config, "cpu", "1", "/t"],
    ]


@pytest.mark.parametrize("message", wrong_starts())
def test_a_message_that_is_no_start(message: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        read(message)
