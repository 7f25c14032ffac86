"""The numbers of latent attention, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["IndexShape", "LatentShape"]


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexShape:
    """The index of sparse attention, which chooses the tokens that a query sees."""

    num_heads: int
    head_dim: int
    num_selected: int
    interleaved: bool
    """Rotation pairs are neighbouring dimensions."""
    choosing_layers: frozenset[int]
    """The others see what the last of these before them chose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentShape:
    """The numbers of latent attention; N, P, V are the parts of a head that come from the latent,
    that are rotated, and that are the value."""

    query_rank: int | None
    """Rank of the queries' latent; None: queries come from the hidden state."""
    rank: int
    key_dim: int
    """N."""
    rotated_dim: int
    """P."""
    value_dim: int
    """V."""
    scale: float
    """Factor of attention scores."""
    bias: bool = False
    index: IndexShape | None = None
    """None: a query sees every token before it."""

    @property
    def cached_dim(self) -> int:
        return self.rank + self.rotated_dim
