"""Attention within chunks of the sequence: a query sees its own chunk up to itself."""

from __future__ import annotations

from unisono.hardware.ops.attention import AttentionStep

__all__ = ["in_chunks"]


def in_chunks(step: AttentionStep, size: int) -> AttentionStep:
    """The same queries, each run of them within one chunk as a row whose context begins with the
    chunk, and so with a block; still without a plan."""
    assert size % step.block_size == 0
    query_lens: list[int] = []
    context_lens: list[int] = []
    block_tables: list[list[int]] = []
    rows = zip(step.query_lens, step.context_lens, step.block_tables, strict=True)
    for num_queries, context, table in rows:
        at = context - num_queries
        while at < context:
            begin = at - at % size
            end = min(context, begin + size)
            query_lens.append(end - at)
            context_lens.append(end - begin)
            block_tables.append(table[begin // step.block_size : -(-end // step.block_size)])
            at = end
    own = AttentionStep(
        query_lens=query_lens,
        context_lens=context_lens,
        block_tables=block_tables,
        slots=step.slots,
        block_size=step.block_size,
    )
    if step.is_decode and step.contexts is not None:
        begins = (step.contexts - 1) // size * size
        own.contexts = step.contexts - begins
        own.tables = step.tables_from(begins // step.block_size, max(map(len, block_tables)))
    return own
