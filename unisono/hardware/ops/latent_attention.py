"""Attention over a latent cache in plain torch: the reference of its ops.

A token leaves one vector behind, its latent and a rotated key part that all heads share; keys and
values of each head are linear maps of the latent (DeepSeek-AI, 2024, DeepSeek-V2, section 2.1).

Shapes: T tokens of a step, H heads, C tokens of context, n queries of a row; R the latent, P the
rotated part, N and V the part of a head's key and the value that come from the latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.hardware.ops.attention import AttentionStep, scaled_product, write_planes
from unisono.hardware.ops.row_batches import BatchPlan, RowBatch, plan_batches, unseen

_NUMBERS_AT_ONCE = 1 << 24
"""Scores, or keys and values, that a row has in memory at a time; more only where those of one
query, or of one head, are more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentAttentionSize:
    """The largest step, as far as the memory of attention goes; 0 index heads where nothing is
    selected."""

    num_rows: int
    num_queries: int
    """Tokens of all rows."""
    context: int
    """Tokens of the longest row."""
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
        """True where a row's products are fewer, for each head, with the queries brought to the
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
        entry_size = cache.shape[2]
        return plan_batches(step, cache.device, entry_size=entry_size, at_once=_NUMBERS_AT_ONCE)

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
        plan: BatchPlan = step.plan
        call = _Call(cache, up, scale, _Sizes.of(cache, up))
        choices = [None] * len(plan.batches) if selected is None else plan.split(selected)
        parts = zip(plan.split(query), plan.batches, choices, strict=True)
        outputs = [call.attend(*part) for part in parts]
        return plan.join(outputs, query.new_empty((*query.shape[:2], call.sizes.value)))

    def latent_attention_bytes(self, size: LatentAttentionSize) -> int:
        """Bytes that ``latent_attention`` and ``select_keys`` take at most for a step of ``size``,
        its tokens divided among its rows in any way, beside arguments and results."""
        context, cached = size.context, size.latent_dim + size.rotated_dim
        heads = max(size.num_heads, size.num_index_heads)
        one_query = context * (heads + (cached if size.num_index_heads else 0))
        keys = max(
            context, min(min(size.num_rows, size.num_queries) * context, _NUMBERS_AT_ONCE // cached)
        )
        one_head = keys * (size.key_dim + size.value_dim)
        scores = 4 * max(_most_held(size.num_queries, one_query), one_query * (keys // context))
        expanded = 4 * _most_held(size.num_heads, one_head) + 2 * size.rotated_dim * keys
        gathered = 2 * keys * max(cached, size.index_dim)
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
        plan: BatchPlan = step.plan
        parts = zip(plan.split(query), plan.split(weights), plan.batches, strict=True)
        outputs = [_select(*part, keys, count) for part in parts]
        return plan.join(outputs, query.new_empty((0, count), dtype=torch.int64))


def _gather(cache: Tensor, batch: RowBatch) -> Tensor:
    """Cached latents of the rows, [R, S, D]; zeros behind the end of a shorter row, where
    anything may be, also NaN, and 0 * NaN is not 0."""
    found = batch.gather(cache)
    if batch.num_rows == 1:
        return found
    assert batch.hidden is not None
    return found.masked_fill_(unseen(batch.hidden).unsqueeze(-1), 0.0)


@dataclass(frozen=True, slots=True)
class _Call:
    """A latent cache as one call of ``latent_attention`` reads it."""

    cache: Tensor
    up: tuple[Tensor, Tensor]
    scale: float
    sizes: _Sizes

    def attend(self, query: Tensor, batch: RowBatch, selected: Tensor | None) -> Tensor:
        """Queries [R, n, H, N + P], each of which sees all before it, or ``selected`` [R, n, S]
        -> [R, n, H, V]."""
        num_selected = None if selected is None else selected.shape[2]
        absorbs = self.sizes.absorbs(batch.num_queries, batch.num_keys, num_selected)
        if num_selected is not None and num_selected >= batch.num_keys:
            selected = None
        return (self._absorbed if absorbs else self._expanded)(query, batch, selected)

    def _absorbed(self, query: Tensor, batch: RowBatch, selected: Tensor | None) -> Tensor:
        """The queries are brought to the latents."""
        own, rotated = torch.split(query.flatten(0, 1), [self.sizes.key, self.sizes.rotated], -1)
        latent = torch.bmm(own.transpose(0, 1), self.up[0]).transpose(0, 1)
        brought = torch.cat((latent, rotated), -1).view(*query.shape[:3], -1)
        if selected is None:
            mixed = self._mixed(brought, batch)
        else:
            mixed = self._mixed_of_selected(brought, batch, selected)
        values = torch.bmm(self.up[1], mixed.flatten(0, 1).permute(1, 2, 0)).permute(2, 0, 1)
        return values.view(*query.shape[:2], *values.shape[1:])

    def _mixed(self, query: Tensor, batch: RowBatch) -> Tensor:
        """Absorbed queries [R, n, H, R + P] -> mixed latents [R, n, H, R]."""
        latents, outputs = _gather(self.cache, batch).float(), []
        for rows, hidden in batch.tiles(None, _at_once(query.shape[2] * batch.num_keys)):
            seen, part = latents[:, : hidden.shape[2]], query[:, rows]
            scores = scaled_product(part.flatten(1, 2).float(), seen.mT, self.scale)
            scores = torch.unflatten(scores, 1, part.shape[1:3])
            scores = scores.masked_fill_(hidden.unsqueeze(2), float("-inf"))
            mixed = torch.softmax(scores, -1).flatten(1, 2) @ seen[..., : self.sizes.latent]
            outputs.append(torch.unflatten(mixed, 1, part.shape[1:3]))
        return _joined(outputs, 1).to(query.dtype)

    def _mixed_of_selected(self, query: Tensor, batch: RowBatch, selected: Tensor) -> Tensor:
        """The same where each query sees latents of its own; no others are read."""
        cache, size, outputs = self.cache, self.cache.shape[1], []
        held = batch.num_rows * selected.shape[2] * (query.shape[2] + cache.shape[2])
        for rows in _tiles(batch.num_queries, held):
            part, positions = query[:, rows], selected[:, rows].clamp(min=0)
            blocks = batch.blocks.gather(1, positions.flatten(1) // size).view_as(positions)
            chosen = cache[blocks, positions % size].float()
            scores = scaled_product(part.float(), chosen.mT, self.scale)
            scores = scores.masked_fill_((selected[:, rows] < 0).unsqueeze(2), float("-inf"))
            outputs.append(torch.softmax(scores, -1) @ chosen[..., : self.sizes.latent])
        return _joined(outputs, 1).to(query.dtype)

    def _expanded(self, query: Tensor, batch: RowBatch, selected: Tensor | None) -> Tensor:
        """The latents are brought to keys and values."""
        sizes, outputs = self.sizes, []
        latents = _gather(self.cache, batch)
        latent, rotated = torch.split(latents, [sizes.latent, sizes.rotated], -1)
        untiled = 0 if batch.hidden is None else batch.num_queries
        one_head = batch.num_rows * batch.num_keys * max(sizes.key + sizes.value, untiled)
        for heads in _tiles(len(self.up[0]), one_head):
            own, values = (
                torch.unflatten(
                    F.linear(latent, part[heads].flatten(0, 1)), -1, (-1, part.shape[1])
                )
                for part in self.up
            )
            shared = rotated.unsqueeze(2).expand(-1, -1, own.shape[2], -1)
            keys = torch.cat((own, shared), -1).permute(0, 2, 3, 1).float()
            values = values.transpose(1, 2).float()
            mixed = []
            for rows, hidden in batch.tiles(None, _at_once(keys.shape[1] * batch.num_keys)):
                count = hidden.shape[2]
                part = query[:, rows, heads].transpose(1, 2).float()
                scores = scaled_product(part, keys[..., :count], self.scale)
                if selected is not None:
                    hidden = _unselected(selected[:, rows], count)
                scores = scores.masked_fill_(hidden.unsqueeze(1), float("-inf"))
                mixed.append((torch.softmax(scores, -1) @ values[:, :, :count]).transpose(1, 2))
            outputs.append(_joined(mixed, 1))
        return _joined(outputs, 2).to(query.dtype)


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _at_once(size_of_one: int) -> int:
    """Number of items of ``size_of_one`` entries that fit in memory together; at least one."""
    return max(1, _NUMBERS_AT_ONCE // max(1, size_of_one))


def _tiles(count: int, size_of_one: int) -> list[slice]:
    """``count`` things in runs of as many as are held at once."""
    step = _at_once(size_of_one)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _most_held(count: int, size_of_one: int) -> int:
    """Most entries that ``_tiles`` holds at once, of ``count`` items."""
    return min(count * size_of_one, max(_NUMBERS_AT_ONCE, size_of_one))


def _unselected(selected: Tensor, num_keys: int) -> Tensor:
    """Mask of keys outside ``selected`` [R, n, S], bool [R, n, num_keys]."""
    shape = (*selected.shape[:2], num_keys + 1)
    hidden = torch.ones(shape, dtype=torch.bool, device=selected.device)
    hidden.scatter_(2, torch.where(selected < 0, num_keys, selected), False)
    return hidden[..., :num_keys]


def _select(query: Tensor, weights: Tensor, batch: RowBatch, cache: Tensor, count: int) -> Tensor:
    """query [R, n, heads, D], weights [R, n, heads] -> [R, n, count]."""
    keys = batch.gather(cache).float() if batch.num_keys > count else None
    outputs = []
    for rows, hidden in batch.tiles(None, _at_once(query.shape[2] * batch.num_keys)):
        if keys is None:
            positions = torch.arange(hidden.shape[2], device=hidden.device)
            chosen = torch.where(hidden, -1, positions)
        else:
            chosen = _best(query[:, rows], weights[:, rows], keys, hidden, count)
        missing = count - chosen.shape[2]
        outputs.append(F.pad(chosen, (0, missing), value=-1) if missing else chosen)
    return _joined(outputs, 1)


def _best(query: Tensor, weights: Tensor, keys: Tensor, hidden: Tensor, count: int) -> Tensor:
    """The same, of the first keys [R, S, D], as many as ``hidden`` [R, n, S] is about; no more than
    there are."""
    dots = F.relu(query.flatten(1, 2).float() @ keys[:, : hidden.shape[2]].mT)
    scores = weights.unsqueeze(2) @ torch.unflatten(dots, 1, query.shape[1:3])
    scores = scores.squeeze(2).masked_fill_(hidden, float("-inf"))
    positions = scores.argsort(dim=-1, descending=True, stable=True)
    # A query sees the first keys: what it does not see comes last, however many there are.
    return positions[..., :count].masked_fill(hidden[..., :count], -1)
