"""Attention on a CPU: a row of the batch at a time, its keys a view of the cache if they can be.

A decode row goes to torch's fused kernel. All else goes tile by tile, keys outside and queries
inside, with a running softmax (Milakov and Gimelshein, 2018): scores in float32, whatever the dtype
of the cache, no work beyond the diagonal or before the window, and no more of a cache in 8 bits in
float32 at once than a tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.hardware.ops.attention import AttentionSize, AttentionStep, visible
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.quantized_kv import LayerKV, QuantizedKV

_QUERIES, _KEYS = 128, 2048
"""In a tile."""
_LOWEST = torch.finfo(torch.float32).min
"""Below every score but not infinite: a tile may have nothing that a query sees."""


@dataclass(frozen=True, slots=True)
class RowPlan:
    """One row: ``length`` cached tokens from cache token ``first`` on, or out of ``blocks``."""

    num_queries: int
    length: int
    first: int
    blocks: Tensor | None
    offset: int
    """Tokens at the start of the first block that are out of sight."""


class TiledAttentionOps(PortableOps):
    """The op table with attention a row at a time."""

    def plan_attention(
        self, step: AttentionStep, kv: LayerKV, *, into: Any = None
    ) -> list[RowPlan]:
        return [_plan_row(step, row, kv) for row in range(len(step.query_lens))]

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
        if not step.query_lens:
            return torch.empty_like(query)
        queries = torch.split(query, step.query_lens)
        outputs = [
            _attend(q, kv, row, scale=scale, window=step.window, softcap=softcap, sinks=sinks)
            for q, row in zip(queries, step.plan, strict=True)
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def attention_bytes(self, size: AttentionSize) -> int:
        queries, keys = min(_QUERIES, size.num_queries), min(_KEYS, size.num_seen)
        head, cached = size.num_heads * size.head_dim, 2 * size.num_kv_heads * size.head_dim
        masks = queries * (queries if size.window is None else size.num_seen)
        scores = size.num_score_copies * queries * size.num_heads * keys + masks
        tiles = 5 * size.num_queries * head + scores + 3 * queries * head + 4 * cached * keys
        return 4 * max(tiles, cached * size.num_seen)


def _plan_row(step: AttentionStep, row: int, kv: LayerKV) -> RowPlan:
    """Plans one row: the blocks of the keys that its first query, and so any of them, can see."""
    num_queries, context, size = step.query_lens[row], step.context_lens[row], step.block_size
    unseen = 0 if step.window is None else max(0, context - num_queries - step.window + 1)
    table = step.block_tables[row][unseen // size : -(-context // size)]
    whole = (kv.levels if isinstance(kv, QuantizedKV) else kv).is_contiguous()
    adjacent = whole and table == list(range(table[0], table[0] + len(table)))
    return RowPlan(
        num_queries=num_queries,
        length=context - unseen,
        first=table[0] * size + unseen % size,
        blocks=None if adjacent else torch.tensor(table),
        offset=unseen % size,
    )


def _attend(
    query: Tensor,
    kv: LayerKV,
    row: RowPlan,
    *,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """query [n, Hq, D] over a layer's cache -> [n, Hq, D]."""
    if row.num_queries == 1 and softcap is None and sinks is None and isinstance(kv, Tensor):
        return _decode(query, *_tokens(kv, row, 0, row.length), scale)
    num_kv_heads = (kv.levels if isinstance(kv, QuantizedKV) else kv).shape[3]
    shape = (row.num_queries, num_kv_heads, -1, query.shape[2])
    scaled = query.view(shape).permute(1, 2, 0, 3).float() * scale
    tiles = [
        _QueryTile(scaled[:, :, start : start + _QUERIES], row, start, window, sinks)
        for start in range(0, row.num_queries, _QUERIES)
    ]
    for start in range(0, row.length, _KEYS):
        end = min(start + _KEYS, row.length)
        keys, values = _tokens(kv, row, start, end)
        keys, values = keys.permute(1, 2, 0).float(), values.transpose(0, 1).float()
        for tile in tiles:
            tile.see(keys, values, start, softcap)
    out = torch.cat([tile.result() for tile in tiles], dim=2)
    return out.permute(2, 0, 1, 3).flatten(1, 2).to(query.dtype)


def _tokens(kv: LayerKV, row: RowPlan, start: int, end: int) -> tuple[Tensor, Tensor]:
    """Keys and values [end - start, Hk, D] of some of the row's tokens."""
    if isinstance(kv, QuantizedKV):
        levels, scales = (_part(x, row, start, end) for x in (kv.as_bytes, kv.scales))
        both = kv.from_bytes(levels, scales)
    else:
        both = _part(kv, row, start, end)
    return both[0], both[1]


def _part(cache: Tensor, row: RowPlan, start: int, end: int) -> Tensor:
    """The same tokens of a cache [2, blocks, block_size, ...] -> [2, end - start, ...]."""
    if row.blocks is None:
        return cache.flatten(1, 2)[:, row.first + start : row.first + end]
    size, first, last = cache.shape[2], row.offset + start, row.offset + end
    blocks = row.blocks[first // size : -(-last // size)]
    gathered = cache[:, blocks].flatten(1, 2)
    return gathered[:, first % size : first % size + end - start]


def _decode(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """One query that sees all. Key-value heads are the kernel's batch, and the query heads that
    share one are its queries, so no key is copied."""
    num_kv_heads, size = keys.shape[1], keys.shape[2]
    out = F.scaled_dot_product_attention(
        query.view(num_kv_heads, 1, -1, size),
        keys.transpose(0, 1).unsqueeze(1),
        values.transpose(0, 1).unsqueeze(1),
        scale=scale,
    )
    return out.reshape(query.shape)


class _QueryTile:
    """Scaled queries [Hk, G, n, D] of a row from ``start`` on, and what they have seen so far."""

    def __init__(
        self, query: Tensor, row: RowPlan, start: int, window: int | None, sinks: Tensor | None
    ) -> None:
        count = query.shape[2]
        self.query, self.window = query.flatten(1, 2), window
        self.shape = query.shape
        self.last = row.length - row.num_queries + start + count
        self.first = 0 if window is None else max(0, self.last - count - window + 1)
        per_query = (*query.shape[:3], 1)
        self.out = query.new_zeros(query.shape)
        if sinks is None:
            self.top, self.total = query.new_full(per_query, _LOWEST), query.new_zeros(per_query)
        else:
            sink = sinks.float().view(*query.shape[:2], 1, 1)
            self.top, self.total = sink.expand(per_query), query.new_ones(per_query)

    def see(self, keys: Tensor, values: Tensor, start: int, softcap: float | None) -> None:
        """Add keys [Hk, D, C] and values [Hk, C, D] of the row's tokens from ``start`` on."""
        first, last = max(self.first, start), min(self.last, start + keys.shape[2])
        if first >= last:
            return
        keys, values = (
            keys[:, :, first - start : last - start],
            values[:, first - start : last - start],
        )
        scores = self._scores(keys, first, last, softcap)
        here = scores.amax(-1, keepdim=True)
        weights = torch.softmax(scores, dim=-1)
        # The largest weight is exp(0) / total. (torch.exp is slow where it gives denormal numbers.)
        total = 1 / weights.amax(-1, keepdim=True)
        top = torch.maximum(self.top, here)
        before, now = (self.top - top).exp_(), (here - top).exp_() * total
        seen = torch.bmm(weights.flatten(1, 2), values).view(self.shape)
        self.total = self.total * before + now
        self.out = self.out * before + seen * now
        self.top = top

    def _scores(self, keys: Tensor, first: int, last: int, softcap: float | None) -> Tensor:
        """[Hk, G, n, C] over the row's tokens from ``first`` to ``last``; lowest where hidden."""
        num_queries = self.shape[2]
        scores = torch.bmm(self.query, keys).view(*self.shape[:3], last - first)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        # Without a window only the last columns, the tile's own positions, have anything to hide.
        hiding = num_queries if self.window is None else self.last - self.first
        shown = self.last - hiding
        begin = max(first, shown)
        if begin < last:
            hidden = ~visible(num_queries, hiding, self.window, scores.device)
            columns = hidden[:, begin - shown : last - shown]
            scores[..., begin - first :].masked_fill_(columns, _LOWEST)
        return scores

    def result(self) -> Tensor:
        """[Hk, G, n, D], float32."""
        return self.out / self.total
