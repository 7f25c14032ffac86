"""The rows of a step in batches that are computed together.

Rows with equally many queries go together, as many as memory allows, so that the number of torch
operations does not grow with the rows of a step. All is decided from lengths on the host: nothing
asks the device for a number.

Shapes: T tokens of a step, R rows of a batch with n queries each, S tokens of the longest row's
context, B blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from unisono.hardware.ops.attention import AttentionStep, visible

Numbers = tuple[list[Tensor], Tensor | None, Tensor | None]
"""For each batch, int64 [R, 1 + B]: the index of each row's last query among its keys, and the
blocks that hold them, with any behind those of a shorter row; then ``BatchPlan.order`` and
``back``."""


@dataclass(frozen=True, slots=True)
class RowBatch:
    """R rows that are computed together."""

    num_rows: int
    num_queries: int
    """Queries of each row, n."""
    num_keys: int
    """S."""
    blocks: Tensor
    """Blocks that hold the keys, int64 [R, B]; those of shorter rows are followed by any."""
    adjacent: slice | None
    """The same blocks of a single row, where they lie side by side: no copy of them is made."""
    hidden: Tensor | None
    """Keys that a query does not see, bool [R, n, S]; None for a row that is computed in parts."""

    def gather(self, cache: Tensor) -> Tensor:
        """The rows' entries of a cache [blocks, block_size, ...] -> [R, S, ...]."""
        if self.adjacent is not None:
            return cache[self.adjacent].flatten(0, 1)[: self.num_keys].unsqueeze(0)
        found = cache.index_select(0, self.blocks.flatten())
        return found.view(self.num_rows, -1, *cache.shape[2:])[:, : self.num_keys]

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
    """Index in ``order`` of each token of the step, int64 [T]; None: tokens keep their places."""

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

    def refill(self, newer: BatchPlan) -> BatchPlan:
        """``newer`` in the tensors of this plan, which keep their addresses; where shapes differ,
        as it is."""
        own, others = self._tensors(), newer._tensors()
        if [_shape(x) for x in own] != [_shape(x) for x in others]:
            return newer
        for held, found in zip(own, others, strict=True):
            if held is not None and found is not None:
                held.copy_(found)
        batches = (
            replace(found, blocks=held.blocks, hidden=held.hidden)
            for held, found in zip(self.batches, newer.batches, strict=True)
        )
        return BatchPlan(tuple(batches), self.order, self.back)

    def _tensors(self) -> list[Tensor | None]:
        batches = [x for batch in self.batches for x in (batch.blocks, batch.hidden)]
        return [self.order, self.back, *batches]


def _shape(x: Tensor | None) -> torch.Size | None:
    return None if x is None else x.shape


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
    if step.is_decode and step.tables is not None:
        numbers, order, back = _on_device(step, batches)
    else:
        numbers, order, back = _copied(step, batches, device)
    made = [_make(step, *each, most) for each in zip(batches, numbers, strict=True)]
    return BatchPlan(tuple(made), order, back)


def _batches(step: AttentionStep, most: int) -> Iterator[list[int]]:
    """Rows that are computed together. Where all with equally many queries are too many, those with
    contexts of about one length are."""
    by_count: dict[int, list[int]] = {}
    for row, count in enumerate(step.query_lens):
        by_count.setdefault(count, []).append(row)
    for count, rows in by_count.items():
        if len(rows) * count * _num_read(step, rows) <= most:
            yield rows
        else:
            ordered = sorted(rows, key=lambda row: _num_seen(step, row))
            yield from _split(step, ordered, most // count)


def _split(step: AttentionStep, rows: Sequence[int], most: int) -> Iterator[list[int]]:
    """Runs of rows, the shortest first."""
    run: list[int] = []
    for row in rows:
        if run and (len(run) + 1) * _num_read(step, [row]) > most:
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


def _width(step: AttentionStep, rows: Sequence[int]) -> int:
    """Blocks that hold the keys of the row that sees most."""
    return -(-max(_num_seen(step, row) for row in rows) // step.block_size)


def _num_read(step: AttentionStep, rows: Sequence[int]) -> int:
    """Tokens that are read for each of the rows: whole blocks, which may be long."""
    return _width(step, rows) * step.block_size


def _table(step: AttentionStep, row: int) -> list[int]:
    """The blocks that hold the row's keys."""
    first = _first_block(step, row)
    return step.block_tables[row][first : first - (-_num_seen(step, row) // step.block_size)]


def _copied(step: AttentionStep, batches: list[list[int]], device: torch.device) -> Numbers:
    """Made of the lists on the host."""
    numbers = []
    for batch in batches:
        width = _width(step, batch)
        tables = [(_num_seen(step, row) - 1, _table(step, row)) for row in batch]
        padded = [[last, *table, *[0] * (width - len(table))] for last, table in tables]
        numbers.append(torch.tensor(padded, device=device))
    if not _reorders(batches):
        return numbers, None, None
    starts = [0, *accumulate(step.query_lens)]
    tokens = [t for batch in batches for row in batch for t in range(starts[row], starts[row + 1])]
    order, back = torch.tensor(
        [tokens, sorted(range(len(tokens)), key=tokens.__getitem__)], device=device
    ).unbind()
    return numbers, order, back


def _on_device(step: AttentionStep, batches: list[list[int]]) -> Numbers:
    """The same for rows of one query each, made of what is on the device already: nothing is
    copied to it."""
    assert step.contexts is not None
    first = torch.zeros_like(step.contexts)
    if step.window is not None:
        first = (step.contexts - step.window).clamp(min=0) // step.block_size
    last = (step.contexts - 1 - first * step.block_size).unsqueeze(1)
    widths = [_width(step, batch) for batch in batches]
    numbers = torch.cat((last, step.tables_from(first, max(widths, default=0))), 1)
    order = back = None
    if _reorders(batches):
        order = last.squeeze(1).argsort(stable=True)
        numbers, back = numbers.index_select(0, order), order.argsort()
    parts = torch.split(numbers, [len(batch) for batch in batches])
    return [part[:, : 1 + width] for part, width in zip(parts, widths, strict=True)], order, back


def _reorders(batches: list[list[int]]) -> bool:
    rows = [row for batch in batches for row in batch]
    return rows != sorted(rows)


def _make(step: AttentionStep, rows: list[int], numbers: Tensor, most: int) -> RowBatch:
    num_queries, num_keys = step.query_lens[rows[0]], max(_num_seen(step, row) for row in rows)
    adjacent = None
    if len(rows) == 1:
        table = _table(step, rows[0])
        if all(second == first + 1 for first, second in pairwise(table)):
            adjacent = slice(table[0], table[-1] + 1)
    hidden = None
    if len(rows) * num_queries * num_keys <= most:
        hidden = _hidden(numbers[:, :1], num_queries, num_keys, step.window)
    blocks = numbers[:, 1:].contiguous()
    return RowBatch(len(rows), num_queries, num_keys, blocks, adjacent, hidden)


def _hidden(last: Tensor, num_queries: int, num_keys: int, window: int | None) -> Tensor:
    """bool [R, n, S]; ``last`` [R, 1] is the index of each row's last query among its keys."""
    key = torch.arange(num_keys, device=last.device)
    before = torch.arange(num_queries - 1, -1, -1, device=last.device)
    own = last.unsqueeze(2) - before.unsqueeze(1)
    return key > own if window is None else (key > own) | (key <= own - window)
