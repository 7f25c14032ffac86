"""Counts the blocks of a KV budget, and the longest request they hold: plain arithmetic."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from unisono.core.config import format_bytes
from unisono.core.errors import ConfigError, InsufficientMemoryError
from unisono.engine.kv_cache import peak_blocks
from unisono.engine.pages import PageLayout

_UNITS = ((2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"))


@dataclass(frozen=True, slots=True)
class BlockBudget:
    """``count`` blocks of a page layout, for steps of at most ``chunk`` tokens."""

    pages: PageLayout
    count: int
    chunk: int

    def check(self, kv_memory: int) -> None:
        """Raises:
        InsufficientMemoryError: ``kv_memory`` bytes hold not even one token.
        """
        if self.count < 2 or self._capacity(1) < 1:
            raise InsufficientMemoryError(
                f"{format_bytes(kv_memory)} of KV memory hold not even one token.",
                hint=f"Give at least --kv-memory {_at_least(self._bytes_for(1))}.",
            )

    def max_model_len(self, wanted: int | None, max_position: int) -> int:
        """Most tokens of one request: ``wanted``, or as many as the blocks hold.

        Raises:
            ConfigError: ``wanted`` is beyond ``max_position``.
            InsufficientMemoryError: the blocks hold fewer than ``wanted``.
        """
        if wanted is None:
            return self._capacity(max_position)
        if wanted > max_position:
            raise ConfigError(
                f"max_model_len {wanted} is beyond the {max_position} positions the model knows.",
                hint=f"Use --max-model-len {max_position} or less.",
            )
        if self._capacity(wanted) < wanted:
            here = self.count * self.pages.bytes_per_block
            raise InsufficientMemoryError(
                f"One request of {wanted} tokens needs {format_bytes(self._bytes_for(wanted))} "
                f"of KV memory; there are {format_bytes(here)}.",
                hint=f"Raise --kv-memory, or lower --max-model-len to {self._capacity(wanted)}.",
            )
        return wanted

    def _peak(self, num_tokens: int) -> int:
        pages = self.pages
        return peak_blocks(pages.groups, pages.block_size, num_tokens, self.chunk)

    def _bytes_for(self, num_tokens: int) -> int:
        """KV memory with which one request of that many tokens fits."""
        return (self._peak(num_tokens) + 1) * self.pages.bytes_per_block

    def _capacity(self, wanted: int) -> int:
        """Most tokens, up to ``wanted``, that one request can have."""
        return bisect_right(range(1, wanted + 1), self.count - 1, key=self._peak)


def _at_least(size: int) -> str:
    """1000000 -> ``"977KiB"``: rounded up, in a unit that keeps the number short."""
    unit, name = next((u for u in _UNITS if size < 2**14 * u[0]), _UNITS[-1])
    return f"{-(-size // unit)}{name}"
