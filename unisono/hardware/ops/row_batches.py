"""The rows of a step in batches that are computed together.

Rows with equally many queries go together, as many as memory allows, so that the number of torch
operations does not grow with the rows of a step. All is decided from lengths on the host: nothing
asks the device for a number.

Shapes: T tokens of a step, R rows of a batch with n queries each, S tokens of the longest row's
context, B blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from unisono.hardware.ops.attention import AttentionStep, visible

__all__ = ["BatchPlan", "RowBatch", "plan_batches", "unseen"]


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
    adjacent: slice | None
    """The same blocks of a single row, where they lie side by side: no copy of them is made."""
    hidden: Tensor | None
    """Keys that a query does not see, bool [R, n, S]; None for a row that is computed in parts."""

    def gather(self, cache: Tensor) -> Tensor:
        """The rows' entries of a cache [blocks, block_size, ...] -> [R, S, ...]."""
        if self.adjacent is not None:
            return cache[self.adjacent].flatten(0, 1)[: self.num_keys].unsqueeze(0)
        return cache[self.blocks].flatten(1, 2)[:, : self.num_keys]

    def tiles(self, window: int | None, at_once: int) -> Iterator[tuple[slice, Tensor]]:
        """Runs of at most ``at_once`` queries, and what they do not see of the keys up to that of
        the last one, bool [R, n, S]; all queries where the batch was made to fit memory."""
        if self.hidden is not None:
            yield slice(None), self.hidden
            return
        for start in range(0, self.num_queries, at_once):
            end = min(start + at_once, self.num_queries)
            num_keys = self.num_keys - self.num_queries + end
            seen = visible(end - start, num_keys, window, self.blocks.device)
            yield slice(start, end), ~seen.unsqueeze(0)


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The batches of a step."""

    batches: tuple[RowBatch, ...]
    order: Tensor | None
    """Tokens of the step batch by batch, int64 [T]; None: as they are."""
    back: Tensor | None
    """Where in that order each token of the step is, int64 [T]."""

    def split(self, x: Tensor) -> list[Tensor]:
        """x [T, ...] -> [R, n, ...] for each batch."""
        ordered = x if self.order is None else x.index_select(0, self.order)
        shapes = [(batch.num_rows, batch.num_queries) for batch in self.batches]
        parts = torch.split(ordered, [rows * queries for rows, queries in shapes])
        return [torch.unflatten(part, 0, shape) for part, shape in zip(parts, shapes, strict=True)]

    def join(self, outputs: Sequence[Tensor], empty: Tensor) -> Tensor:
        """[R, n, ...] of each batch -> [T, ...]; ``empty`` where there is none."""
        flat = [out.flatten(0, 1) for out in outputs]
        if not flat:
            return empty
        joined = flat[0] if len(flat) == 1 else torch.cat(flat)
        return joined if self.back is None else joined.index_select(0, self.back)


def unseen(hidden: Tensor) -> Tensor:
    """Keys that no query of a row sees, bool [R, S], given what each does not see."""
    return hidden.squeeze(1) if hidden.shape[1] == 1 else hidden.all(1)


def plan_batches(
    step: AttentionStep, device: torch.device, *, entry_size: int, at_once: int
) -> BatchPlan:
    """The batches of a step.

    Args:
        entry_size: numbers that a token has in the cache.
        at_once: numbers of the keys, counted once for each query, that a batch may have; more only
            where a row by itself does.
    """
    most = at_once // entry_size
    batches = list(_batches(step, most))
    rows = [row for batch in batches for row in batch]
    order = back = None
    if rows != sorted(rows):
        starts = [0, *accumulate(step.query_lens)]
        tokens = [t for row in rows for t in range(starts[row], starts[row + 1])]
        order, back = torch.tensor(
            [tokens, sorted(range(len(tokens)), key=tokens.__getitem__)], device=device
        ).unbind()
    return BatchPlan(tuple(_make(step, batch, most, device) for batch in batches), order, back)


def _batches(step: AttentionStep, most: int) -> Iterator[list[int]]:
    """Rows that are computed together. Where all with equally many queries are too many, those with
    contexts of about one length are."""
    by_count: dict[int, list[int]] = {}
    for row, count in enumerate(step.query_lens):
        by_count.setdefault(count, []).append(row)
    for count, rows in by_count.items():
        seen = [_num_seen(step, row) for row in rows]
        if len(rows) * count * max(seen) <= most:
            yield rows
        else:
            yield from _split(sorted(zip(seen, rows, strict=True)), most // count)


def _split(rows: Sequence[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """Runs of rows, each (tokens that are seen, row) and the shortest first."""
    run: list[int] = []
    for seen, row in rows:
        if run and (len(run) + 1) * seen > most:
            yield run
            run = []
        run.append(row)
    yield run


def _first_block(step: AttentionStep, row: int) -> int:
    """Index in the row's table of the first block that any of its queries sees."""
    if step.window is None:
        return 0
    first = step.context_lens[row] - step.query_lens[row] - step.window + 1
    return max(0, first) // step.block_size


def _num_seen(step: AttentionStep, row: int) -> int:
    return step.context_lens[row] - _first_block(step, row) * step.block_size


def _make(step: AttentionStep, rows: list[int], most: int, device: torch.device) -> RowBatch:
    num_queries, seen = step.query_lens[rows[0]], [_num_seen(step, row) for row in rows]
    num_keys = max(seen)
    width = -(-num_keys // step.block_size)
    tables = []
    for row, count in zip(rows, seen, strict=True):
        first = _first_block(step, row)
        blocks = step.block_tables[row][first : first - (-count // step.block_size)]
        tables.append([*blocks, *[0] * (width - len(blocks))])
    adjacent = None
    if len(rows) == 1 and all(second == first + 1 for first, second in pairwise(tables[0])):
        adjacent = slice(tables[0][0], tables[0][-1] + 1)
    numbers = [[count - 1, *table] for count, table in zip(seen, tables, strict=True)]
    last, ids = torch.split(torch.tensor(numbers, device=device), [1, width], 1)
    hidden = None
    if len(rows) * num_queries * num_keys <= most:
        hidden = _hidden(last, num_queries, num_keys, step.window)
    return RowBatch(len(rows), num_queries, num_keys, ids, adjacent, hidden)


def _hidden(last: Tensor, num_queries: int, num_keys: int, window: int | None) -> Tensor:
    """bool [R, n, S]; ``last`` [R, 1] is the index of each row's last query among its keys."""
    key = torch.arange(num_keys, device=last.device)
    before = torch.arange(num_queries - 1, -1, -1, device=last.device)
    own = last.unsqueeze(2) - before.unsqueeze(1)
    return key > own if window is None else (key > own) | (key <= own - window)
