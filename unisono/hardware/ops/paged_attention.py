"""Attention over the paged cache in plain torch: the reference of its ops.

Shapes: T tokens of a step, R rows of a batch with n queries each, S tokens of the longest row's
context, Hq/Hk query and key-value heads, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unisono.hardware.ops.attention import (
    AttentionSize,
    AttentionStep,
    scaled_product,
    write_planes,
)
from unisono.hardware.ops.quantized_kv import LayerKV, QuantizedKV, quantize_heads
from unisono.hardware.ops.row_batches import BatchPlan, RowBatch, plan_batches, unseen

_SCORES_AT_ONCE = 1 << 25
"""Scores of a row's queries in memory at a time."""
_KEYS_AT_ONCE = 1 << 25
"""Entries of keys, counted once for each query, of the rows in memory at a time; one row may have
more."""
_KV_COPIES = 5
"""Entries held for each entry of the keys: keys and values as gathered, and in float32 by head."""


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

    def plan_attention(self, step: AttentionStep, kv: LayerKV, *, into: Any = None) -> Any:
        """Anything all layers of a group can share in this step; kept in ``step.plan``.

        ``into`` is what this op made for an earlier step of the group, which is over: it may be
        refilled and returned, so that its memory stays where it is.
        """
        entry_size = (kv if isinstance(kv, Tensor) else kv.levels)[0, 0, 0].numel()
        plan = plan_batches(step, kv.device, entry_size=entry_size, at_once=_KEYS_AT_ONCE)
        return into.refill(plan) if isinstance(into, BatchPlan) else plan

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
        plan: BatchPlan = step.plan
        outputs = []
        for queries, batch in zip(plan.split(query), plan.batches, strict=True):
            both = _gather(kv, batch)
            at_once = _queries_at_once(batch.num_queries, query.shape[1], batch.num_keys)
            parts = [
                _attend(queries[:, rows], both, hidden, scale, softcap, sinks)
                for rows, hidden in batch.tiles(step.window, at_once)
            ]
            outputs.append(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
        return plan.join(outputs, torch.empty_like(query))

    def attention_bytes(self, size: AttentionSize) -> int:
        """Bytes that ``attention`` takes at most for a step of ``size``, its tokens divided among
        its rows in any way, beside its query and its result."""
        heads, head = size.num_heads, size.head_dim
        num_rows = min(size.num_rows, size.num_queries)
        queries = _queries_at_once(size.num_queries, heads, size.context)
        per_key = (size.num_score_copies + 1) * heads + 2
        one_row = size.context * (_KV_COPIES * size.num_kv_heads * head + queries * per_key)
        most = _KEYS_AT_ONCE // (size.num_kv_heads * head)
        keys, scored = (min(n * size.context, most) for n in (num_rows, size.num_queries))
        batch = keys * _KV_COPIES * size.num_kv_heads * head + scored * per_key
        return 4 * (max(one_row, batch) + 3 * size.num_queries * heads * head)


def _gather(kv: LayerKV, batch: RowBatch) -> Tensor:
    """Keys and values by head, float32 [2, R, Hk, S, D]."""
    if isinstance(kv, QuantizedKV):
        levels, scales = (_of_both(x, batch) for x in (kv.as_bytes, kv.scales))
        both = kv.from_bytes(levels, scales)
    else:
        both = _of_both(kv, batch)
    return both.transpose(2, 3).to(torch.float32, memory_format=torch.contiguous_format)


def _of_both(cache: Tensor, batch: RowBatch) -> Tensor:
    """The rows' entries of a cache [2, blocks, block_size, ...] -> [2, R, S, ...]."""
    return batch.gather(cache.movedim(0, 2)).movedim(2, 0)


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
    """query [R, n, Hq, D] over keys and values, float32 [2, R, Hk, S or more, D] -> [R, n, Hq, D];
    ``hidden`` is bool [R, n, S]."""
    num_rows, num_queries = query.shape[:2]
    num_keys, num_kv_heads = hidden.shape[2], both.shape[2]
    keys, values = both[..., :num_keys, :].unbind()
    by_head = torch.unflatten(query.float(), 2, (num_kv_heads, -1)).permute(0, 2, 3, 1, 4)
    scores = scaled_product(by_head.flatten(2, 3), keys.mT, scale)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = torch.unflatten(scores, 2, (-1, num_queries))
    scores = scores.masked_fill_(hidden.view(num_rows, 1, 1, num_queries, -1), float("-inf"))
    if sinks is not None:
        sink = sinks.float().view(num_kv_heads, -1, 1, 1).expand(*scores.shape[:-1], 1)
        scores = torch.cat((scores, sink), dim=-1)
    weights = torch.softmax(scores, dim=-1)[..., :num_keys]
    # What no query sees may be anything, also NaN, and 0 * NaN is not 0.
    values = values.masked_fill(unseen(hidden).view(num_rows, 1, -1, 1), 0.0)
    out = weights.flatten(2, 3) @ values
    by_query = torch.unflatten(out, 2, (-1, num_queries)).permute(0, 3, 1, 2, 4)
    return by_query.flatten(2, 3).to(query.dtype)
