"""Recurrent ops over a step: rows cut at blocks, states handed on from row to row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unisono.hardware import AttentionStep, PortableOps
from unisono.hardware.ops.recurrence import Span, plan_stages

OPS = PortableOps()
CPU = torch.device("cpu")
HEADS, KEY, VALUE, WIDTH = 2, 4, 3, 3
SIZE = 4


def step_of(*rows: tuple[int, int, list[int]], block_size: int = SIZE) -> AttentionStep:
    """Rows (queries, context, block table)."""
    step = AttentionStep(
        query_lens=[queries for queries, _, _ in rows],
        context_lens=[context for _, context, _ in rows],
        block_tables=[table for _, _, table in rows],
        slots=torch.zeros(sum(queries for queries, _, _ in rows), dtype=torch.int64),
        block_size=block_size,
    )
    step.plan = OPS.plan_states(step, torch.empty(0))
    return step


class Layer:
    """Both ops over a cache of their own, which holds NaN at first."""

    def __init__(self, num_blocks: int) -> None:
        self.inputs = torch.full((num_blocks, WIDTH - 1, 5), torch.nan)
        self.states = torch.full((num_blocks, HEADS, KEY, VALUE), torch.nan)
        self.weight = torch.linspace(-1, 1, 5 * WIDTH).view(5, WIDTH)

    def __call__(self, tokens: list[Tensor], step: AttentionStep) -> tuple[Tensor, Tensor]:
        x, *rest = tokens
        return (
            OPS.causal_conv(x, self.weight, self.inputs, step),
            OPS.gated_delta_rule(*rest, self.states, step),
        )


def tokens_of(seed: int, length: int) -> list[Tensor]:
    """x, query, key, value, log_decay, beta of a sequence's tokens."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((5,), (1, KEY), (1, KEY), (HEADS, VALUE), (HEADS,), (HEADS,))
    found = [torch.randn(length, *shape, generator=generator) for shape in shapes]
    return [*found[:4], -found[4].abs(), found[5].sigmoid()]


def joined(parts: list[list[Tensor]]) -> list[Tensor]:
    return [torch.cat(entries) for entries in zip(*parts, strict=True)]


def part(tokens: list[Tensor], start: int, end: int) -> list[Tensor]:
    return [x[start:end] for x in tokens]


def alone(tokens: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The truth: one sequence in one block that it does not fill."""
    length = len(tokens[0])
    return Layer(2)(tokens, step_of((length, length, [1]), block_size=length + 1))


def same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_rows_are_cut_at_the_ends_of_their_blocks() -> None:
    stages = plan_stages(step_of((7, 9, [5, 6, 7])), CPU)
    assert [stage.longer for stage in stages] == [[Span(0, 2, 5, 5)], [Span(2, 4, 5, 6)], []]
    last = stages[2].singles
    assert last is not None
    assert (last.tokens.tolist(), last.read.tolist(), last.write.tolist()) == ([6], [6], [7])
    assert last.begins is None


def test_a_row_that_goes_on_from_another_row_of_the_step_waits_for_it() -> None:
    filling, sharing, decoding = (8, 8, [1, 2]), (3, 11, [1, 2, 3]), (1, 7, [4, 5])
    stages = plan_stages(step_of(decoding, filling, sharing), CPU)
    assert [[span.write for span in stage.longer] for stage in stages] == [[1], [2], [3]]
    assert stages[0].singles is not None
    assert stages[0].singles.write.tolist() == [5]


@pytest.mark.parametrize("ends", [(4,), (1, 2, 3), (3, 4, 9), (1, 8, 16, 17), (5, 6, 7, 8, 20)])
def test_chunks_of_a_row_are_the_whole_row(ends: tuple[int, ...]) -> None:
    tokens, layer, table = tokens_of(1, 21), Layer(7), [1, 2, 3, 4, 5, 6]
    outputs: list[Any] = []
    for start, end in zip((0, *ends), (*ends, 21), strict=True):
        outputs.append(layer(part(tokens, start, end), step_of((end - start, end, table))))
    same(tuple(torch.cat(x) for x in zip(*outputs, strict=True)), alone(tokens))  # type: ignore[arg-type]


def test_within_one_step_a_row_may_share_what_another_computes() -> None:
    """Two requests with one beginning that are admitted at the same time share rows in this way."""
    shared, own = tokens_of(2, 8), [tokens_of(seed, 5) for seed in (3, 4)]
    step = step_of((13, 13, [1, 2, 3, 4]), (5, 13, [1, 2, 5, 6]), (1, 9, [1, 2, 7]))
    output = Layer(8)(joined([shared, own[0], own[1], part(own[1], 0, 1)]), step)
    same(tuple(x[:13] for x in output), alone(joined([shared, own[0]])))  # type: ignore[arg-type]
    second = alone(joined([shared, own[1]]))
    same(tuple(x[13:18] for x in output), tuple(x[8:] for x in second))  # type: ignore[arg-type]
    same(tuple(x[18:] for x in output), tuple(x[8:9] for x in second))  # type: ignore[arg-type]


@settings(max_examples=30)
@given(data=st.data())
def test_any_schedule_gives_each_sequence_its_own_answer(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 14), min_size=1, max_size=3))
    sequences = [tokens_of(seed, length) for seed, length in enumerate(lengths)]
    tables = [[1 + 4 * i + block for block in range(4)] for i in range(len(lengths))]
    layer, done = Layer(1 + 4 * len(lengths)), [0] * len(lengths)
    outputs: list[list[Any]] = [[] for _ in lengths]
    while any(at < length for at, length in zip(done, lengths, strict=True)):
        open_ones = [i for i in range(len(lengths)) if done[i] < lengths[i]]
        rows = data.draw(st.lists(st.sampled_from(open_ones), min_size=1, unique=True))
        counts = {i: data.draw(st.integers(1, lengths[i] - done[i])) for i in rows}
        given_tokens = joined([part(sequences[i], done[i], done[i] + counts[i]) for i in rows])
        step = step_of(*[(counts[i], done[i] + counts[i], tables[i]) for i in rows])
        found, at = layer(given_tokens, step), 0
        for i in rows:
            outputs[i].append([x[at : at + counts[i]] for x in found])
            done[i], at = done[i] + counts[i], at + counts[i]
    for tokens, found_parts in zip(sequences, outputs, strict=True):
        whole = [torch.cat(x) for x in zip(*found_parts, strict=True)]
        same((whole[0], whole[1]), alone(tokens))


def test_gradients_flow_from_block_to_block() -> None:
    leaves = [x.requires_grad_() for x in tokens_of(5, 10)]
    layer = Layer(4)
    conv, out = layer(leaves, step_of((10, 10, [1, 2, 3])))
    (conv.sum() + out[-1].sum()).backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)
    assert leaves[3].grad is not None
    assert leaves[3].grad[0].abs().max() > 0
