"""Attention over a latent cache in plain torch: the reference of its ops.

A token leaves one vector behind, its latent and a rotated key part that all heads share; keys and
values of each head are linear maps of the latent (DeepSeek-AI, 2024, DeepSeek-V2, section 2.1).

Shapes: T tokens of a step, H heads, C tokens of context, n queries of a row; R the latent, P the
rotated part, N and V the part of a head's key and the value that come from the latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.hardware.ops.attention import AttentionStep, visible, write_planes

__all__ = ["LatentAttentionOps", "LatentAttentionSize"]

_NUMBERS_AT_ONCE = 1 << 24
"""Scores, or keys and values, that a row has in memory at a time; more only where those of one
query, or of one head, are more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentAttentionSize:
    """One row of a step, as far as memory goes; 0 index heads where nothing is selected."""

    num_queries: int
    context: int
    num_heads: int
    latent_dim: int
    rotated_dim: int
    key_dim: int
    value_dim: int
    num_index_heads: int = 0
    index_dim: int = 0


@dataclass(frozen=True, slots=True)
class _Sizes:
    """R, P, N, V of a call."""

    latent: int
    rotated: int
    key: int
    value: int

    @classmethod
    def of(cls, cache: Tensor, up: tuple[Tensor, Tensor]) -> _Sizes:
        latent = up[0].shape[2]
        return cls(latent, cache.shape[2] - latent, up[0].shape[1], up[1].shape[1])

    def absorbs(self, num_queries: int, context: int, num_selected: int | None) -> bool:
        """Whether a row's products are fewer, for each head, with the queries brought to the
        latents than with the latents brought to keys and values.

        Absorbed, each query passes W once and meets latents; expanded, each token of the context
        passes W once and the query meets its keys. With the numbers of DeepSeek-V3 (512, 64, 128,
        128) a row absorbs up to 170 queries behind a long context.
        """
        through = (self.key + self.value) * self.latent
        seen = context - (num_queries - 1) / 2
        met = seen if num_selected is None else min(seen, num_selected)
        absorbed = num_queries * (through + met * (2 * self.latent + self.rotated))
        one_key = self.key + self.rotated + self.value
        return absorbed <= context * through + num_queries * seen * one_key


class LatentAttentionOps:
    """The part of the op table that reads and writes latent caches."""

    def latent_write(self, cache: Tensor, rows: Tensor, slots: Tensor) -> None:
        """Put rows [T, D] at ``slots`` [T] of a cache [blocks, block_size, D], whose blocks may lie
        apart (a strided view)."""
        write_planes(cache.unsqueeze(0), (rows,), slots)

    def plan_latent_attention(self, step: AttentionStep, cache: Tensor) -> object:
        """Anything all layers of a group can share in this step; kept in ``step.plan``."""
        tables = zip(step.block_tables, step.context_lens, strict=True)
        return [
            _blocks(table[: -(-context // step.block_size)], cache.device)
            for table, context in tables
        ]

    def latent_attention(
        self,
        query: Tensor,
        cache: Tensor,
        up: tuple[Tensor, Tensor],
        step: AttentionStep,
        *,
        scale: float,
        selected: Tensor | None = None,
    ) -> Tensor:
        """Causal attention of query [T, H, N + P] over the latents of each row -> [T, H, V].

        cache [blocks, block_size, R + P], up ([H, N, R], [H, V, R]): a head's key is the first
        times a latent, with the latent's rotated part behind it; its value is the second times the
        latent. Rows are as in ``attention``; ``up`` is taken to the queries and to what they give,
        or to the latents, whichever is less work for a row by itself. ``selected`` int64 [T, S] has
        the positions that each query sees, -1 where they are fewer than S.
        """
        sizes = _Sizes.of(cache, up)
        num_selected = None if selected is None else selected.shape[1]
        absorbs = [
            sizes.absorbs(n, context, num_selected)
            for n, context in zip(step.query_lens, step.context_lens, strict=True)
        ]
        queries = _absorbed(query, up[0], step, absorbs, sizes)
        outputs = []
        choices = _rows_of(selected, step)
        for row, (row_query, choice) in enumerate(zip(queries, choices, strict=True)):
            context = step.context_lens[row]
            latents = _rows(cache, step.plan[row], context)
            if choice is not None and choice.shape[1] >= context:
                choice = None
            attend = _attend_latents if absorbs[row] else _attend_expanded
            outputs.append(attend(row_query, latents, up, choice, scale, sizes))
        return _valued(outputs, up[1], absorbs, query)

    def latent_attention_bytes(self, size: LatentAttentionSize) -> int:
        """The most that ``latent_attention`` and ``select_keys`` take at once for a row, beside
        what they are given and their results."""
        context, cached = size.context, size.latent_dim + size.rotated_dim
        heads = max(size.num_heads, size.num_index_heads)
        one_query = context * (heads + (cached if size.num_index_heads else 0))
        one_head = context * (size.key_dim + size.value_dim)
        scores = 4 * _most_held(size.num_queries, one_query)
        expanded = 4 * _most_held(size.num_heads, one_head) + 2 * size.rotated_dim * context
        gathered = 2 * context * max(cached, size.index_dim)
        queries = 3 * size.num_queries * size.num_heads * (cached + size.key_dim + size.value_dim)
        return 4 * (scores + expanded + gathered + queries)

    def select_keys(
        self, query: Tensor, weights: Tensor, keys: Tensor, step: AttentionStep, *, count: int
    ) -> Tensor:
        """The ``count`` positions before and at each query whose keys score highest -> int64
        [T, count] in any order, -1 where there are fewer (DeepSeek-AI, 2025, DeepSeek-V3.2, section
        2.1).

        A key k scores sum over heads of weights[h] * relu(query[h] . k), in float32: query
        [T, heads, D], weights float32 [T, heads], keys [blocks, block_size, D]. Of equal scores the
        first position is taken.
        """
        outputs, at = [], 0
        for row, num_queries in enumerate(step.query_lens):
            context = step.context_lens[row]
            tokens = slice(at, at + num_queries)
            if context <= count:
                outputs.append(_all_visible(num_queries, context, count, query.device))
            else:
                row_keys = _rows(keys, step.plan[row], context).float()
                outputs.append(_select(query[tokens], weights[tokens], row_keys, count))
            at += num_queries
        return torch.cat(outputs) if outputs else query.new_empty((0, count), dtype=torch.int64)


def _blocks(table: list[int], device: torch.device) -> slice | Tensor:
    """Which blocks a row reads; a slice, of which no copy is made, where they are adjacent."""
    if all(second == first + 1 for first, second in pairwise(table)):
        return slice(table[0], table[0] + len(table))
    return torch.tensor(table, device=device)


def _rows(cache: Tensor, blocks: slice | Tensor, context: int) -> Tensor:
    """[C, D] of one row; a view where its blocks are adjacent in a cache that is contiguous."""
    found = cache[blocks]
    return found.flatten(0, 1)[:context]


def _rows_of(selected: Tensor | None, step: AttentionStep) -> list[Tensor | None]:
    if selected is None:
        return [None] * len(step.query_lens)
    return list(torch.split(selected, step.query_lens))


def _absorbed(
    query: Tensor, up: Tensor, step: AttentionStep, absorbs: list[bool], sizes: _Sizes
) -> list[Tensor]:
    """The queries of each row; of rows that absorb, [n, H, R + P], all of them brought to the
    latents in one product."""
    rows = list(torch.split(query, step.query_lens))
    chosen = [row for row, absorb in zip(rows, absorbs, strict=True) if absorb]
    if not chosen:
        return rows
    joined = torch.cat(chosen) if len(chosen) > 1 else chosen[0]
    own, rotated = torch.split(joined, [sizes.key, sizes.rotated], -1)
    latent = torch.bmm(own.transpose(0, 1), up).transpose(0, 1)
    brought = iter(torch.split(torch.cat((latent, rotated), -1), [len(row) for row in chosen]))
    return [next(brought) if absorb else row for row, absorb in zip(rows, absorbs, strict=True)]


def _valued(outputs: list[Tensor], up: Tensor, absorbs: list[bool], query: Tensor) -> Tensor:
    """[T, H, V] from the values of rows and, of those that absorb, the mixed latents [n, H, R]."""
    chosen = [out for out, absorb in zip(outputs, absorbs, strict=True) if absorb]
    if chosen:
        joined = torch.cat(chosen) if len(chosen) > 1 else chosen[0]
        values = torch.bmm(up, joined.permute(1, 2, 0)).permute(2, 0, 1)
        parts = iter(torch.split(values, [len(out) for out in chosen]))
        outputs = [
            next(parts) if absorb else out for out, absorb in zip(outputs, absorbs, strict=True)
        ]
    if not outputs:
        return query.new_empty((*query.shape[:2], up.shape[1]))
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0].contiguous()


def _attend_latents(
    query: Tensor,
    latents: Tensor,
    up: tuple[Tensor, Tensor],
    selected: Tensor | None,
    scale: float,
    sizes: _Sizes,
) -> Tensor:
    """Absorbed queries [n, H, R + P] over latents [C, R + P] -> mixed latents [n, H, R]."""
    latents = latents.float()
    if selected is not None:
        return _attend_selected(query, latents, selected, scale, sizes)
    outputs = []
    for rows, seen in _causal_tiles(len(query), len(latents), query.shape[1]):
        scores = query[rows].float() @ latents[:seen].T * scale
        hidden = _hidden(rows, seen, query.device)
        if hidden is not None:
            scores = scores.masked_fill_(hidden.unsqueeze(1), float("-inf"))
        outputs.append(torch.softmax(scores, -1) @ latents[:seen, : sizes.latent])
    return torch.cat(outputs).to(query.dtype)


def _attend_selected(
    query: Tensor, latents: Tensor, selected: Tensor, scale: float, sizes: _Sizes
) -> Tensor:
    """The same where each query sees latents of its own, selected [n, S]."""
    outputs = []
    for rows in _tiles(len(query), selected.shape[1] * (query.shape[1] + latents.shape[1])):
        chosen = latents[selected[rows].clamp(min=0)]
        scores = torch.bmm(query[rows].float(), chosen.transpose(1, 2)) * scale
        scores = scores.masked_fill((selected[rows] < 0).unsqueeze(1), float("-inf"))
        outputs.append(torch.bmm(torch.softmax(scores, -1), chosen[..., : sizes.latent]))
    return torch.cat(outputs).to(query.dtype)


def _attend_expanded(
    query: Tensor,
    latents: Tensor,
    up: tuple[Tensor, Tensor],
    selected: Tensor | None,
    scale: float,
    sizes: _Sizes,
) -> Tensor:
    """Queries [n, H, N + P] over the keys and values of latents [C, R + P] -> [n, H, V]."""
    context = len(latents)
    latent, rotated = torch.split(latents, [sizes.latent, sizes.rotated], -1)
    outputs = []
    for heads in _tiles(len(up[0]), context * (sizes.key + sizes.value)):
        own, values = (
            F.linear(latent, part[heads].flatten(0, 1)).view(context, -1, part.shape[1])
            for part in up
        )
        shared = rotated.unsqueeze(1).expand(-1, own.shape[1], -1)
        keys = torch.cat((own, shared), -1).permute(1, 2, 0).float()
        values = values.transpose(0, 1).float()
        mixed = []
        for rows, seen in _causal_tiles(len(query), context, len(keys)):
            scores = query[rows, heads].transpose(0, 1).float() @ keys[..., :seen] * scale
            hidden = _hidden(rows, seen, query.device, selected)
            if hidden is not None:
                scores = scores.masked_fill_(hidden, float("-inf"))
            mixed.append((torch.softmax(scores, -1) @ values[:, :seen]).transpose(0, 1))
        outputs.append(torch.cat(mixed))
    return torch.cat(outputs, 1).to(query.dtype)


def _tiles(count: int, size_of_one: int) -> list[slice]:
    """``count`` things in runs of as many as are held at once."""
    step = max(1, _NUMBERS_AT_ONCE // max(1, size_of_one))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _most_held(count: int, size_of_one: int) -> int:
    """Of ``_tiles``."""
    return min(count * size_of_one, max(_NUMBERS_AT_ONCE, size_of_one))


def _causal_tiles(num_queries: int, context: int, num_heads: int) -> list[tuple[slice, int]]:
    """The last queries of a context in runs, and how many of its tokens any of a run sees."""
    tiles = _tiles(num_queries, num_heads * context)
    return [(rows, context - num_queries + rows.stop) for rows in tiles]


def _hidden(
    rows: slice, seen: int, device: torch.device, selected: Tensor | None = None
) -> Tensor | None:
    """What each of some queries does not see of ``seen`` tokens, of which the last one sees all,
    bool [queries, seen]; None where there is nothing."""
    if selected is not None:
        chosen = selected[rows]
        hidden = torch.ones(len(chosen), seen + 1, dtype=torch.bool, device=device)
        hidden.scatter_(1, torch.where(chosen < 0, seen, chosen), False)
        return hidden[:, :seen]
    num_queries = rows.stop - rows.start
    return None if num_queries == 1 else ~visible(num_queries, seen, None, device)


def _all_visible(num_queries: int, context: int, count: int, device: torch.device) -> Tensor:
    """Every position up to a query's own, then -1."""
    positions = torch.arange(count, device=device)
    last = torch.arange(context - num_queries, context, device=device).unsqueeze(1)
    return torch.where(positions <= last, positions, -1)


def _select(query: Tensor, weights: Tensor, keys: Tensor, count: int) -> Tensor:
    """One row: query [n, heads, D], weights [n, heads], keys [C, D] -> [n, count]."""
    outputs = []
    for rows, seen in _causal_tiles(len(query), len(keys), query.shape[1]):
        dots = F.relu(query[rows].float() @ keys[:seen].T)
        scores = torch.bmm(weights[rows].unsqueeze(1), dots).squeeze(1)
        hidden = _hidden(rows, seen, query.device)
        if hidden is not None:
            scores = scores.masked_fill_(hidden, float("-inf"))
        ordered, positions = scores.sort(dim=-1, descending=True, stable=True)
        unseen = ordered[:, :count] == float("-inf")
        chosen = positions[:, :count].masked_fill(unseen, -1)
        outputs.append(F.pad(chosen, (0, count - chosen.shape[1]), value=-1))
    return torch.cat(outputs)
