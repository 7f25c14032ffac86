"""The inputs of a step on a device are complete, whatever was sent before."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from unisono.core import BatchRow, SamplingParams
from unisono.engine.parcel import Parcel
from unisono.engine.step_inputs import StepInputs

SIZE, GROUPS = 4, 2


class Device:
    """A device whose memory a test can read: the host's, with the tables held as elsewhere."""

    def __init__(self) -> None:
        self.inputs = StepInputs(GROUPS, SIZE, torch.device("cpu"))
        self.inputs._holds_tables = True
        self.inputs._reset()

    def check(self, rows: list[BatchRow]) -> None:
        loaded = self.inputs.load(rows)
        assert loaded.held is not None
        assert loaded.token_ids.tolist() == [t for row in rows for t in row.token_ids]
        positions = [(row, p) for row in rows for p in range(row.start, row.end)]
        assert loaded.positions.tolist() == [p for _, p in positions]
        assert loaded.held.contexts.tolist() == [row.end for row in rows]
        for group in range(GROUPS):
            slots = [r.block_tables[group][p // SIZE] * SIZE + p % SIZE for r, p in positions]
            assert loaded.slots[group].tolist() == slots
            for row, table in zip(rows, loaded.held.tables[:, group].tolist(), strict=True):
                known = list(row.block_tables[group])
                assert table[: len(known)] == known


def random_row(numbers: random.Random, name: str) -> BatchRow:
    start, count = numbers.randrange(40), numbers.randint(1, 3)
    num_blocks = -(-(start + count) // SIZE)
    return BatchRow(
        request_id=name,
        token_ids=[numbers.randrange(99) for _ in range(count)],
        start=start,
        block_tables=[[numbers.randrange(99) for _ in range(num_blocks)] for _ in range(GROUPS)],
        num_logits=1,
        params=SamplingParams(),
        seed=0,
        num_prompt_tokens=1,
        all_token_ids=[1],
        rope_length=0,
    )


@pytest.mark.parametrize("seed", range(3))
def test_every_step_has_its_own_numbers(seed: int) -> None:
    numbers, device = random.Random(seed), Device()
    for _ in range(50):
        names = numbers.sample("abcdefgh", numbers.randint(1, 5))
        device.check([random_row(numbers, name) for name in names])


def test_after_a_failure_all_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, device = random.Random(0), Device()
    rows = [random_row(numbers, name) for name in "ab"]

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Parcel, "send", fail)
        with pytest.raises(RuntimeError):
            device.inputs.load(rows)
    device.check(rows)


def test_rotated_lengths_come_where_there_are_any() -> None:
    inputs = StepInputs(GROUPS, SIZE, torch.device("cpu"))
    row = random_row(random.Random(1), "a")
    assert inputs.load([row]).rope_lengths is None
    found = inputs.load([replace(row, rope_length=64)])
    assert found.rope_lengths is not None
    assert found.rope_lengths.tolist() == [64] * len(row.token_ids)
    assert found.held is None


def test_a_step_without_rows() -> None:
    Device().check([])
