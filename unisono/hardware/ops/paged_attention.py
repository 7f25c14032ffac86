"""Attention over the paged cache in plain torch: the reference of its ops.

Rows with equally many queries are computed together, as many as memory allows, so that the number
of torch operations does not grow with the rows of a step. Nothing asks the device for a number.

Shapes: T tokens of a step, R rows of a batch with n queries each, S tokens of the longest row's
context, Hq/Hk query and key-value heads in groups of G, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from unisono.hardware.ops.attention import AttentionSize, AttentionStep, visible, write_planes
from unisono.hardware.ops.quantized_kv import LayerKV, QuantizedKV, quantize_heads

__all__ = ["PagedAttentionOps"]

_SCORES_AT_ONCE = 1 << 25
"""Scores of a row's queries in memory at a time."""
_KEYS_AT_ONCE = 1 << 25
"""Entries of keys, counted once for each query, of the rows in memory at a time; one row may have
more."""
_KV_COPIES = 5
"""Entries held for each entry of the keys: keys and values as gathered, and in float32 by head."""


@dataclass(frozen=True, slots=True)
class RowBatch:
    """R rows that are computed together."""

    num_rows: int
    num_queries: int
    """Of each row, n."""
    num_keys: int
    """S."""
    blocks: Tensor
    """Blocks that hold the keys, int64 [R, B]; those of shorter rows are followed by block 0."""
    hidden: Tensor | None
    """Keys that a query does not see, bool [R, n, S]; None for a row that is computed in parts."""


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """The batches of a step."""

    batches: tuple[RowBatch, ...]
    order: Tensor | None
    """Tokens of the step batch by batch, int64 [T]; None: as they are."""
    back: Tensor | None
    """Where in that order each token of the step is, int64 [T]."""


class PagedAttentionOps:
    """The part of the op table that reads and writes keys and values."""

    def kv_write(self, kv: LayerKV, key: Tensor, value: Tensor, slots: Tensor) -> None:
        """Put key, value [T, Hk, D] at ``slots`` [T] of kv [2, blocks, block_size, Hk, D], whose
        blocks may lie apart (a strided view); rounded to 8 bits where the cache is so."""
        if isinstance(kv, Tensor):
            write_planes(kv, (key, value), slots)
            return
        (keys, key_scales), (values, value_scales) = (
            quantize_heads(rows, kv.levels.dtype) for rows in (key, value)
        )
        write_planes(kv.as_bytes, (keys.view(torch.int8), values.view(torch.int8)), slots)
        write_planes(kv.scales, (key_scales, value_scales), slots)

    def plan_attention(self, step: AttentionStep, kv: LayerKV) -> Any:
        """Anything all layers of a group can share in this step; kept in ``step.plan``."""
        key_size = (kv if isinstance(kv, Tensor) else kv.levels)[0, 0, 0].numel()
        batches = list(_batches(step, key_size))
        rows = [row for batch in batches for row in batch]
        order = back = None
        if rows != sorted(rows):
            starts = [0, *accumulate(step.query_lens)]
            tokens = [t for row in rows for t in range(starts[row], starts[row + 1])]
            order, back = torch.tensor(
                [tokens, sorted(range(len(tokens)), key=tokens.__getitem__)], device=kv.device
            ).unbind()
        made = tuple(_make_batch(step, batch, key_size, kv.device) for batch in batches)
        return AttentionPlan(made, order, back)

    def attention(
        self,
        query: Tensor,
        kv: LayerKV,
        step: AttentionStep,
        *,
        scale: float,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Causal attention of query [T, Hq, D] over each row's own blocks -> [T, Hq, D].

        One op for prefill, chunks of it, and decode. Query i of a row with context C and n
        queries stands at position C - n + i and sees positions up to its own, at most
        ``step.window`` of them. ``softcap`` c maps scores s to c * tanh(s / c); ``sinks`` [Hq]
        adds a score without a value to each softmax.
        """
        plan: AttentionPlan = step.plan
        ordered = query if plan.order is None else query.index_select(0, plan.order)
        sizes = [batch.num_rows * batch.num_queries for batch in plan.batches]
        outputs = []
        for part, batch in zip(torch.split(ordered, sizes), plan.batches, strict=True):
            by_row = torch.unflatten(part, 0, (batch.num_rows, batch.num_queries))
            both = _gather(kv, batch)
            outputs += [
                _attend(by_row[:, queries], both, hidden, scale, softcap, sinks)
                for queries, hidden in _tiles(batch, step.window, query.shape[1])
            ]
        if not outputs:
            return torch.empty_like(query)
        out = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return out if plan.back is None else out.index_select(0, plan.back)

    def attention_bytes(self, size: AttentionSize) -> int:
        """The most that ``attention`` takes at once for a step of ``size.num_queries`` tokens, in
        one row or in many, beside its query and its result."""
        heads, head = size.num_heads, size.head_dim
        queries = _queries_at_once(size.num_queries, heads, size.context)
        per_key = (size.num_score_copies + 1) * heads + 2
        one_row = size.context * (_KV_COPIES * size.num_kv_heads * head + queries * per_key)
        together = min(size.num_queries * size.context, _KEYS_AT_ONCE // (size.num_kv_heads * head))
        batch = together * (_KV_COPIES * size.num_kv_heads * head + per_key)
        return 4 * (max(one_row, batch) + 3 * size.num_queries * heads * head)


def _batches(step: AttentionStep, key_size: int) -> Iterator[list[int]]:
    """Rows that are computed together. Where all with equally many queries are too many, those with
    contexts of about one length are."""
    by_count: dict[int, list[int]] = {}
    for row, count in enumerate(step.query_lens):
        by_count.setdefault(count, []).append(row)
    for count, rows in by_count.items():
        seen = [_num_seen(step, row) for row in rows]
        if _fits(len(rows), count, max(seen), key_size):
            yield rows
        else:
            yield from _split(sorted(zip(seen, rows, strict=True)), count, key_size)


def _split(rows: Sequence[tuple[int, int]], count: int, key_size: int) -> Iterator[list[int]]:
    """Runs of rows, each (tokens that are seen, row), in the order of the first."""
    run: list[int] = []
    for seen, row in rows:
        if run and not _fits(len(run) + 1, count, seen, key_size):
            yield run
            run = []
        run.append(row)
    yield run


def _fits(num_rows: int, num_queries: int, num_keys: int, key_size: int) -> bool:
    return num_rows * num_queries * num_keys * key_size <= _KEYS_AT_ONCE


def _first_block(step: AttentionStep, row: int) -> int:
    """Index in the row's table of the first block that any of its queries sees."""
    if step.window is None:
        return 0
    first = step.context_lens[row] - step.query_lens[row] - step.window + 1
    return max(0, first) // step.block_size


def _num_seen(step: AttentionStep, row: int) -> int:
    return step.context_lens[row] - _first_block(step, row) * step.block_size


def _make_batch(
    step: AttentionStep, rows: list[int], key_size: int, device: torch.device
) -> RowBatch:
    num_queries, seen = step.query_lens[rows[0]], [_num_seen(step, row) for row in rows]
    num_keys = max(seen)
    width = -(-num_keys // step.block_size)
    numbers = []
    for row, count in zip(rows, seen, strict=True):
        first = _first_block(step, row)
        blocks = step.block_tables[row][first : first - (-count // step.block_size)]
        numbers.append([count - 1, *blocks, *[0] * (width - len(blocks))])
    last, tables = torch.split(torch.tensor(numbers, device=device), [1, width], 1)
    hidden = None
    if len(rows) > 1 or _fits(1, num_queries, num_keys, key_size):
        key = torch.arange(num_keys, device=device)
        own = last.unsqueeze(2) - torch.arange(num_queries - 1, -1, -1, device=device).unsqueeze(1)
        hidden = key > own if step.window is None else (key > own) | (key <= own - step.window)
    return RowBatch(len(rows), num_queries, num_keys, tables, hidden)


def _gather(kv: LayerKV, batch: RowBatch) -> Tensor:
    """Keys and values by head, float32 [2, R, Hk, S, D]."""
    if isinstance(kv, QuantizedKV):
        levels, scales = (_of_blocks(x, batch) for x in (kv.as_bytes, kv.scales))
        both = kv.from_bytes(levels, scales)
    else:
        both = _of_blocks(kv, batch)
    return both.transpose(2, 3).to(torch.float32, memory_format=torch.contiguous_format)


def _of_blocks(cache: Tensor, batch: RowBatch) -> Tensor:
    """The rows' entries of a cache [2, blocks, block_size, ...] -> [2, R, S, ...]."""
    return cache[:, batch.blocks].flatten(2, 3)[:, :, : batch.num_keys]


def _tiles(batch: RowBatch, window: int | None, num_heads: int) -> Iterator[tuple[slice, Tensor]]:
    """Queries whose scores are held at once, and what they do not see of the keys up to their last
    one's own, bool [R, n, S]."""
    if batch.hidden is not None:
        yield slice(None), batch.hidden
        return
    count, num_keys = batch.num_queries, batch.num_keys
    at_once = _queries_at_once(count, num_heads, num_keys)
    for start in range(0, count, at_once):
        end = min(start + at_once, count)
        seen = visible(end - start, num_keys - count + end, window, batch.blocks.device)
        yield slice(start, end), ~seen.unsqueeze(0)


def _queries_at_once(num_queries: int, num_heads: int, context: int) -> int:
    return max(1, min(num_queries, _SCORES_AT_ONCE // (num_heads * context)))


def _attend(
    query: Tensor,
    both: Tensor,
    hidden: Tensor,
    scale: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """query [R, n, Hq, D] over keys and values, float32 [2, R, Hk, S or more, D] -> [R * n, Hq, D];
    ``hidden`` is bool [R, n, S]."""
    num_rows, num_queries, num_heads, _ = query.shape
    num_keys, num_kv_heads = hidden.shape[2], both.shape[2]
    keys, values = both[..., :num_keys, :].unbind()
    by_head = torch.unflatten(query.float(), 2, (num_kv_heads, -1)).permute(0, 2, 3, 1, 4) * scale
    scores = by_head.flatten(2, 3) @ keys.mT
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = torch.unflatten(scores, 2, (-1, num_queries))
    scores = scores.masked_fill_(hidden.view(num_rows, 1, 1, num_queries, -1), float("-inf"))
    if sinks is not None:
        sink = sinks.float().view(num_kv_heads, -1, 1, 1).expand(*scores.shape[:-1], 1)
        scores = torch.cat((scores, sink), dim=-1)
    weights = torch.softmax(scores, dim=-1)[..., :num_keys]
    # What no query sees may be anything, also NaN, and 0 * NaN is not 0.
    unseen = hidden if num_queries == 1 else hidden.all(1)
    values = values.masked_fill(unseen.view(num_rows, 1, -1, 1), 0.0)
    out = weights.flatten(2, 3) @ values
    by_query = torch.unflatten(out, 2, (-1, num_queries)).permute(0, 3, 1, 2, 4)
    return by_query.reshape(-1, num_heads, by_query.shape[-1]).to(query.dtype)
