"""The step as an attention op sees it, in host and device form, and helpers of such ops.

Made once a step and cache group by the runner; every layer of the group reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(kw_only=True, slots=True)
class AttentionStep:
    """R rows (sequences) with T query tokens in all, packed one row after the other.

    The lists are what the tensors hold, so that no device has to be asked for them.
    """

    query_lens: list[int]
    """Tokens of each row in this step, [R]."""
    context_lens: list[int]
    """Tokens of each row in the cache once this step's are written, [R]."""
    block_tables: list[list[int]]
    """Block ids of each row, enough for its context; 0 where a window has passed."""
    slots: Tensor
    """Cache slots of the tokens' keys and values: block * block_size + offset, int64 [T]."""
    block_size: int
    window: int | None = None
    """Tokens a query sees, itself included; None sees all before it."""
    contexts: Tensor | None = None
    """``context_lens`` on the device, int64 [R]; None: only the list is there."""
    tables: Tensor | None = None
    """``block_tables`` on the device, int64 [R, B], with any blocks behind a row's own; None: only
    the lists are there, as on a device that reads the host's memory."""
    spare_blocks: list[list[int]] = field(default_factory=list)
    """Blocks for the states behind each of a row's last tokens, as many as are drafted. Empty:
    nothing is drafted, or the group keeps no state."""
    plan: Any = field(default=None)
    """The result of ``plan_attention``, or of the op that plans for another kind of cache: for all
    layers of a cache group in this step."""

    @property
    def is_decode(self) -> bool:
        """True where every row has one token."""
        return all(count == 1 for count in self.query_lens)

    def tables_from(self, first: Tensor, width: int) -> Tensor:
        """``width`` blocks of each row from index ``first`` int64 [R] on -> [R, width]; behind a
        row's own, any."""
        assert self.tables is not None
        index = first.unsqueeze(1) + torch.arange(width, device=first.device)
        return self.tables.gather(1, index.clamp(max=self.tables.shape[1] - 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionSize:
    """The largest step, as far as the memory of attention goes."""

    num_rows: int
    num_queries: int
    """Tokens of all rows."""
    context: int
    """Tokens of the longest row."""
    window: int | None
    num_heads: int
    num_kv_heads: int
    head_dim: int
    capped: bool
    """True where scores are capped softly."""

    @property
    def num_score_copies(self) -> int:
        """Scores and weights; capping them takes another."""
        return 3 if self.capped else 2

    @property
    def num_seen(self) -> int:
        """Tokens that any of the queries sees."""
        window = self.context if self.window is None else self.window - 1 + self.num_queries
        return min(self.context, window)


def write_planes(cache: Tensor, planes: Sequence[Tensor], slots: Tensor) -> None:
    """Put each of P ``planes`` [T, ...] at ``slots`` [T] of its part of a cache [P, blocks,
    block_size, ...]."""
    if cache.is_contiguous():
        for part, rows in zip(cache.flatten(1, 2), planes, strict=True):
            part.index_copy_(0, slots, rows)
    else:
        block, offset = slots // cache.shape[2], slots % cache.shape[2]
        for part, rows in zip(cache, planes, strict=True):
            part[block, offset] = rows


def scaled_product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale * a @ b, of [..., n, K] and [..., K, m], as one operation."""
    flat = a.flatten(0, -3), b.flatten(0, -3)
    out = torch.baddbmm(a.new_empty(()), *flat, beta=0, alpha=scale)
    return out.view(*a.shape[:-1], b.shape[-1])


def visible(num_queries: int, context: int, window: int | None, device: torch.device) -> Tensor:
    """Mask of the ``context`` positions that each of the last ``num_queries`` sees, bool [n, C]."""
    position = torch.arange(context - num_queries, context, device=device).unsqueeze(1)
    key = torch.arange(context, device=device)
    seen = key <= position
    return seen if window is None else seen & (key > position - window)
