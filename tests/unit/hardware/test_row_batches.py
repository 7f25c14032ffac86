"""Batches of rows: the same whether they are made of lists or of what is on the device."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unisono.conformance.paging import make_step
from unisono.hardware import AttentionStep, PortableOps
from unisono.hardware.ops.attention import AttentionSize
from unisono.hardware.ops.row_batches import BatchPlan, plan_batches

CPU = torch.device("cpu")
CONTEXTS = [9, 1, 30, 4, 17, 30]


def decode(window: int | None) -> AttentionStep:
    step, _ = make_step([(1, context) for context in CONTEXTS], block_size=4, window=window)
    return step


def on_device(step: AttentionStep) -> AttentionStep:
    """The step as it is where a device has its tables: with anything behind a row's blocks."""
    width = max(map(len, step.block_tables)) + 3
    padded = [[*table, *[99] * (width - len(table))] for table in step.block_tables]
    contexts = torch.tensor(step.context_lens)
    return replace(step, tables=torch.tensor(padded), contexts=contexts)


def seen_blocks(plan: BatchPlan) -> list[list[list[int]]]:
    """The blocks of each row that hold a key it sees."""
    found = []
    for batch in plan.batches:
        assert batch.hidden is not None
        counts = (~batch.hidden[:, 0]).long() * torch.arange(1, batch.num_keys + 1)
        ends = (counts.amax(1) + 3) // 4
        pairs = zip(batch.blocks.tolist(), ends.tolist(), strict=True)
        found.append([row[:end] for row, end in pairs])
    return found


@pytest.mark.parametrize("window", [None, 3, 8])
@pytest.mark.parametrize("at_once", [1000, 60, 31])
def test_a_decode_step_is_planned_without_its_lists(window: int | None, at_once: int) -> None:
    step = decode(window)
    listed = plan_batches(step, CPU, entry_size=1, at_once=at_once)
    held = plan_batches(on_device(step), CPU, entry_size=1, at_once=at_once)
    assert seen_blocks(held) == seen_blocks(listed)
    for mine, other in zip(held.batches, listed.batches, strict=True):
        assert (mine.num_rows, mine.num_keys) == (other.num_rows, other.num_keys)
        assert torch.equal(mine.hidden, other.hidden)  # type: ignore[arg-type]
    for mine, other in ((held.order, listed.order), (held.back, listed.back)):
        assert (mine is None) == (other is None)
        assert mine is None or torch.equal(mine, other)


@pytest.mark.parametrize("at_once", [1 << 25, 60 * 4])
def test_a_plan_is_refilled_where_it_fits(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unisono.hardware.ops.paged_attention._KEYS_AT_ONCE", at_once)
    ops, kv = PortableOps(), torch.zeros(2, 40, 4, 1, 4)
    first = ops.plan_attention(decode(None), kv)
    other, _ = make_step([(1, context) for context in reversed(CONTEXTS)], block_size=4)
    fresh = ops.plan_attention(other, kv)
    again = ops.plan_attention(other, kv, into=first)
    for mine, wanted, before in zip(again.batches, fresh.batches, first.batches, strict=True):
        assert torch.equal(mine.blocks, wanted.blocks)
        assert torch.equal(mine.hidden, wanted.hidden)
        assert mine.blocks is before.blocks
        assert mine.hidden is before.hidden
    if first.order is not None:
        assert again.order is first.order
        assert torch.equal(again.order, fresh.order)


def test_a_plan_of_another_shape_is_a_new_one() -> None:
    ops, kv = PortableOps(), torch.zeros(2, 40, 4, 1, 4)
    first = ops.plan_attention(decode(None), kv)
    longer, _ = make_step([(1, 31)], block_size=4)
    again = ops.plan_attention(longer, kv, into=first)
    assert again.batches[0].num_keys == 31
    assert again.batches[0].blocks is not first.batches[0].blocks


def test_rows_together_are_counted_in_whole_blocks() -> None:
    """Blocks are long where a model keeps states as well."""
    step, _ = make_step([(1, 3)] * 8, block_size=64)
    plan = plan_batches(step, CPU, entry_size=1, at_once=4 * 64)
    assert [batch.num_rows for batch in plan.batches] == [4, 4]


class Peak(TorchDispatchMode):
    """The most bytes that tensors have had at once which were made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._held: dict[int, tuple[int, list[weakref.ref[Tensor]]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tree_leaves(args) if isinstance(x, Tensor)}
        for x in (x for x in tree_leaves(out) if isinstance(x, Tensor)):
            storage = x.untyped_storage()
            if storage.data_ptr() in self._held or storage.data_ptr() not in given:
                _, views = self._held.get(storage.data_ptr(), (0, []))
                self._held[storage.data_ptr()] = storage.nbytes(), [*views, weakref.ref(x)]
        self._held = {
            at: (size, views)
            for at, (size, views) in self._held.items()
            if any(view() is not None for view in views)
        }
        self.peak = max(self.peak, sum(size for size, _ in self._held.values()))
        return out


@pytest.mark.parametrize("rows", [[(11, 512)] * 8, [(1, 512)] * 8, [(88, 512)]])
def test_attention_takes_no_more_than_it_says(rows: list[tuple[int, int]]) -> None:
    step, num_blocks = make_step(rows, block_size=16)
    ops, kv = PortableOps(), torch.randn(2, num_blocks, 16, 1, 128)
    size = AttentionSize(
        num_rows=len(rows),
        num_queries=sum(step.query_lens),
        context=512,
        window=None,
        num_heads=16,
        num_kv_heads=1,
        head_dim=128,
        capped=False,
    )
    query = torch.randn(size.num_queries, 16, 128)
    step.plan = ops.plan_attention(step, kv)
    with torch.inference_mode(), Peak() as taken:
        ops.attention(query, kv, step, scale=0.1)
    assert taken.peak <= ops.attention_bytes(size)
