"""Paged caches for checks: rows of queries and contexts over blocks side by side or scattered."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from unisono.hardware.ops.attention import AttentionStep


def make_step(
    lens: Sequence[tuple[int, int]],
    *,
    block_size: int,
    window: int | None = None,
    scattered: bool = True,
    num_blocks: int | None = None,
) -> tuple[AttentionStep, int]:
    """Rows (queries, context) -> the step, its slots on the host, and the number of blocks.

    Block 0 is left free, as in the engine. With ``num_blocks`` the ids spread over that many.
    """
    counts = [-(-context // block_size) for _, context in lens]
    total = max(num_blocks or 0, sum(counts) + 1)
    order = list(range(1, total))
    if scattered:
        generator = torch.Generator().manual_seed(7)
        order = torch.randperm(total - 1, generator=generator).add(1).tolist()
    if num_blocks is not None:
        order = [total - 1, *(block for block in order if block != total - 1)]
    blocks = iter(order)
    tables = [list(itertools.islice(blocks, count)) for count in counts]
    slots = [
        table[p // block_size] * block_size + p % block_size
        for table, (queries, context) in zip(tables, lens, strict=True)
        for p in range(context - queries, context)
    ]
    step = AttentionStep(
        query_lens=[queries for queries, _ in lens],
        context_lens=[context for _, context in lens],
        block_tables=tables,
        slots=torch.tensor(slots, dtype=torch.int64),
        block_size=block_size,
        window=window,
    )
    return step, total
