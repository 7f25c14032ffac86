"""What an attention op is told about a step, in host and device form.

Made once a step and cache group by the runner; every layer of the group reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["AttentionStep"]


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
    slots: torch.Tensor
    """Where each query token's key and value go: block * block_size + offset, int64 [T]."""
    block_size: int
    window: int | None = None
    """Tokens a query sees, itself included; None sees all before it."""
    plan: Any = field(default=None)
    """Whatever the hardware's ``plan_attention`` prepared for all layers of this step."""
