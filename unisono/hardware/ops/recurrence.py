"""The step as a recurrent op sees it: which tokens go on from which state.

A page of the cache holds one state. A layer leaves there the state behind a block's last token, or,
while the block is filling, behind its newest one. A row is cut at the ends of its blocks, so that
each span of tokens reads one state and writes one; a span may go on from what a row before it in
the same step leaves, because blocks are shared as soon as they are scheduled. Drafted tokens are
spans of one token, each with a page of its own: the state of the last that is accepted is then
there, in the same bits as if the tokens had come one a step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unisono.hardware.ops.attention import AttentionStep


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive tokens of one row, all in one block."""

    start: int
    """Index of the first among the T tokens of the step."""
    length: int
    read: int | None
    """The block whose state it goes on from; None: it begins with zeros."""
    write: int
    """The block where it leaves its state."""


@dataclass(frozen=True, slots=True)
class Singles:
    """R spans of one token each."""

    tokens: Tensor | None
    """Indices among the T tokens of the step, int64 [R]; None: all of them, in order."""
    read: Tensor
    """Blocks, int64 [R]; the null block for one that begins."""
    write: Tensor
    begins: Tensor | None
    """bool [R]; None: none begins."""

    def load(self, states: Tensor) -> Tensor:
        """The states [R, ...] that the tokens go on from."""
        found = states[self.read]
        if self.begins is None:
            return found
        # What lies in an unused page may be NaN, which no product makes 0.
        return found.masked_fill(self.begins.view(-1, *(1 for _ in found.shape[1:])), 0)

    def take(self, x: Tensor) -> Tensor:
        """The tokens' rows of x [T, ...]."""
        return x if self.tokens is None else x[self.tokens]

    def put(self, out: Tensor, rows: Tensor) -> Tensor:
        """``out`` [T, ...] with the tokens' rows in it; these alone where they are all."""
        if self.tokens is None:
            return rows.to(out.dtype)
        out[self.tokens] = rows.to(out.dtype)
        return out

    def store(self, states: Tensor, new: Tensor) -> None:
        states[self.write] = new.to(states.dtype)


@dataclass(frozen=True, slots=True)
class Stage:
    """Spans that may be computed at the same time: none goes on from what another one leaves."""

    singles: Singles | None
    longer: list[Span] = field(default_factory=list)


def plan_stages(step: AttentionStep, device: torch.device) -> list[Stage]:
    """The spans of a step by the order in which they can be computed."""
    stages: list[list[Span]] = []
    stage_of: dict[int, int] = {}
    for span in _spans(step):
        at = 0 if span.read is None else stage_of.get(span.read, -1) + 1
        if at == len(stages):
            stages.append([])
        stages[at].append(span)
        stage_of[span.write] = at
    if len(stages) == 1 and step.is_decode and step.tables is not None:
        return [Stage(_decoded(step))]
    return [_stage(spans, sum(step.query_lens), device) for spans in stages]


def _decoded(step: AttentionStep) -> Singles:
    """The rows of a step that are one token each, from what is on the device already."""
    assert step.tables is not None
    assert step.contexts is not None
    last = step.contexts - 1
    behind = torch.stack(((last - 1).clamp(min=0), last), 1) // step.block_size
    read, write = step.tables.gather(1, behind).unbind(1)
    begins = last == 0 if 1 in step.context_lens else None
    return Singles(None, read, write, begins)


def _spans(step: AttentionStep) -> list[Span]:
    """In order of rows, and of positions within a row."""
    spans, at, size = [], 0, step.block_size
    spares = step.spare_blocks or [[] for _ in step.query_lens]
    for count, end, table, spare in zip(
        step.query_lens, step.context_lens, step.block_tables, spares, strict=True
    ):
        position = end - count
        end -= len(spare)
        read = table[(position - 1) // size] if position else None
        while position < end:
            length = min(end, (position // size + 1) * size) - position
            spans.append(Span(at, length, read, table[position // size]))
            read = table[position // size]
            at, position = at + length, position + length
        for block in spare:
            spans.append(Span(at, 1, read, block))
            at, read = at + 1, block
    return spans


def _stage(spans: list[Span], num_tokens: int, device: torch.device) -> Stage:
    single = [span for span in spans if span.length == 1]
    longer = [span for span in spans if span.length > 1]
    if not single:
        return Stage(None, longer)
    begins = [span.read is None for span in single]
    tokens, read, write = torch.tensor(
        [(span.start, span.read or 0, span.write) for span in single], device=device
    ).unbind(1)
    started = torch.tensor(begins, device=device) if any(begins) else None
    own = None if len(single) == num_tokens else tokens
    return Stage(Singles(own, read, write, started), longer)
