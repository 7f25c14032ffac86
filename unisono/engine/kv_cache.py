"""Block tables of all sequences, in every cache group of the model.

Pure bookkeeping: no torch, no clock. A group's policy says which of a sequence's blocks it still
needs and how much of a prefix it can take over; a new kind of memory is a new policy.

Blocks are published for sharing when their last token is *scheduled*: within one step every layer
writes all keys before it reads any, so a request admitted in the same step may already share them.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from unisono.core.cache import CacheGroup
from unisono.engine.block_pool import NULL_BLOCK, BlockPool
from unisono.engine.sequence import Sequence

_KEY_BYTES = 16
_STATE_WINDOW = 2
"""A recurrent state is kept at the end of each block: a token needs the block of the one before it,
like a window of two."""


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


class FullPolicy:
    """Every token stays (full attention and latent caches)."""

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size

    def first_kept(self, num_computed: int) -> int:
        """Index of the first block that queries from position ``num_computed`` on may read."""
        return 0

    def peak_blocks(self, num_tokens: int, chunk: int) -> int:
        """Most blocks held at once while ``num_tokens`` are computed ``chunk`` at a time."""
        return _ceil_div(num_tokens, self.block_size)

    def longest_hit(self, is_cached: Callable[[int], bool], limit: int) -> int:
        """Most leading blocks, at most ``limit``, after which a sequence can go on."""
        return next((index for index in range(limit) if not is_cached(index)), limit)


class WindowPolicy(FullPolicy):
    """A query sees the last ``window`` tokens, itself included; earlier blocks are given back."""

    def __init__(self, block_size: int, window: int) -> None:
        super().__init__(block_size)
        self.window = window

    def first_kept(self, num_computed: int) -> int:
        return max(0, num_computed - self.window + 1) // self.block_size

    def peak_blocks(self, num_tokens: int, chunk: int) -> int:
        in_window = _ceil_div(self.window - 1 + min(chunk, num_tokens), self.block_size) + 1
        return min(_ceil_div(num_tokens, self.block_size), in_window)

    def longest_hit(self, is_cached: Callable[[int], bool], limit: int) -> int:
        hit, index = limit, limit - 1
        while index >= self.first_kept(hit * self.block_size):
            if not is_cached(index):
                hit = index
            index -= 1
        return hit


def _policy(group: CacheGroup, block_size: int) -> FullPolicy:
    if group.kind in ("full", "latent"):
        return FullPolicy(block_size)
    if group.kind == "state":
        return WindowPolicy(block_size, _STATE_WINDOW)
    assert group.window is not None
    return WindowPolicy(block_size, group.window)


def peak_blocks(
    groups: tuple[CacheGroup, ...], block_size: int, num_tokens: int, chunk: int
) -> int:
    """Most blocks a sequence of ``num_tokens`` holds at once, ``chunk`` tokens a step."""
    return sum(_policy(group, block_size).peak_blocks(num_tokens, chunk) for group in groups)


@dataclass(slots=True)
class _Held:
    """The blocks of a sequence: for each group a table, and how many of its blocks a window left.

    All tables have one length: where a group needs no block, the null block stands.
    """

    tables: list[list[int]]
    num_dropped: list[int]
    num_published: int = 0
    spares: list[list[int]] = field(default_factory=list)
    """For the drafts of a step: by group, as ``BatchRow.spare_blocks``."""


class KVCache:
    """The block tables of all sequences over one pool.

    Args:
        groups: cache groups of the model.
        num_blocks: size of the pool, the null block included.
        block_size: tokens in a block.
    """

    def __init__(
        self,
        groups: tuple[CacheGroup, ...],
        *,
        num_blocks: int,
        block_size: int,
        prefix_cache: bool = True,
    ) -> None:
        self.pool = BlockPool(num_blocks)
        self.block_size = block_size
        self.prefix_cache = prefix_cache
        self._policies = [_policy(group, block_size) for group in groups]
        self._keeps_state = [group.kind == "state" for group in groups]
        self._held: dict[str, _Held] = {}
        self.num_queried_tokens = 0
        self.num_hit_tokens = 0

    def open(self, sequence: Sequence) -> int:
        """Begin a sequence with what the prefix cache has of it.

        Returns:
            Number of leading tokens that need not be computed (always fewer than all).
        """
        groups = range(len(self._policies))
        held = _Held(tables=[[] for _ in groups], num_dropped=[0 for _ in groups])
        self._held[sequence.id] = held
        is_private = sequence.reads_all or not sequence.takes_cached
        if not self.prefix_cache or is_private:
            return 0
        limit = (len(sequence.token_ids) - 1) // self.block_size
        _extend_keys(sequence, limit, self.block_size)
        num_blocks = self._longest_hit(sequence.block_keys, limit)
        for group, policy in enumerate(self._policies):
            first = policy.first_kept(num_blocks * self.block_size)
            held.num_dropped[group] = first
            held.tables[group].extend([NULL_BLOCK] * first)
            held.tables[group].extend(self._take_over(group, sequence.block_keys[first:num_blocks]))
        held.num_published = num_blocks
        return num_blocks * self.block_size

    def count_hit(self, num_queried: int, num_hit: int) -> None:
        """Add one admission to the statistics."""
        self.num_queried_tokens += num_queried
        self.num_hit_tokens += num_hit

    def _longest_hit(self, keys: list[bytes], limit: int) -> int:
        """The longest prefix that every group can go on from."""
        hit, before = limit, -1
        while hit != before:
            before = hit
            for group, policy in enumerate(self._policies):
                cached = partial(self._is_cached, group, keys)
                hit = policy.longest_hit(cached, hit)
        return hit

    def _is_cached(self, group: int, keys: list[bytes], index: int) -> bool:
        return self._find(group, keys[index]) is not None

    def _find(self, group: int, key: bytes) -> int | None:
        return self.pool.find(_group_key(group, key))

    def _take_over(self, group: int, keys: list[bytes]) -> list[int]:
        blocks = []
        for key in keys:
            block = self._find(group, key)
            assert block is not None
            self.pool.retain(block)
            blocks.append(block)
        return blocks

    def num_own(self, sequence: Sequence) -> int:
        """Blocks that only this sequence holds: what closing it would free."""
        tables = self._held[sequence.id].tables
        return sum(self.pool.num_holders(block) == 1 for table in tables for block in table)

    def num_needed(self, sequence: Sequence, chunk: int) -> int:
        """Most blocks at once while a sequence is computed to where it is now."""
        num_tokens = len(sequence.token_ids)
        return sum(policy.peak_blocks(num_tokens, chunk) for policy in self._policies)

    def fits(self, sequence: Sequence, chunk: int) -> bool:
        """True where an opened sequence could be computed to its end with the blocks free now."""
        held = self._held[sequence.id]
        missing = 0
        for policy, table, dropped in zip(
            self._policies, held.tables, held.num_dropped, strict=True
        ):
            missing += policy.peak_blocks(len(sequence.token_ids), chunk) - (len(table) - dropped)
        return missing <= self.pool.num_free

    def reserve(self, sequence: Sequence, num_tokens: int) -> bool:
        """Have blocks for the first ``num_tokens`` tokens; none are taken where some are lacking.

        Blocks that left the window are given back first.
        """
        held = self._held[sequence.id]
        count = _ceil_div(num_tokens, self.block_size) - len(held.tables[0])
        if count <= 0:
            return True
        self._drop(held, sequence.num_computed)
        if count * len(held.tables) > self.pool.num_free:
            return False
        for table in held.tables:
            after = table[-1] if table else NULL_BLOCK
            table.extend(self.pool.allocate(count, after=after, owner=sequence.tenant))
        return True

    def _drop(self, held: _Held, num_computed: int) -> None:
        for group, policy in enumerate(self._policies):
            first, table = policy.first_kept(num_computed), held.tables[group]
            for index in range(held.num_dropped[group], min(first, len(table))):
                self.pool.release(table[index])
                table[index] = NULL_BLOCK
                held.num_dropped[group] = index + 1

    def publish(self, sequence: Sequence, num_tokens: int) -> None:
        """Let others share the full blocks among the first ``num_tokens`` tokens."""
        if not self.prefix_cache:
            return
        held = self._held[sequence.id]
        num_full = num_tokens // self.block_size
        if num_full <= held.num_published:
            return
        _extend_keys(sequence, num_full, self.block_size)
        for group, table in enumerate(held.tables):
            for index in range(held.num_published, num_full):
                self.pool.publish(table[index], _group_key(group, sequence.block_keys[index]))
        held.num_published = num_full

    def retract(self, sequence: Sequence) -> None:
        """A step failed: nobody may find the blocks this sequence holds."""
        for table in self._held[sequence.id].tables:
            for block in table:
                self.pool.unpublish(block)

    def close(self, sequence: Sequence) -> None:
        """Give everything back, the end first, so that beginnings stay findable longest."""
        held = self._held.pop(sequence.id)
        for table in (*held.tables, *held.spares):
            for block in reversed(table):
                if block != NULL_BLOCK:
                    self.pool.release(block)

    def lend(self, sequence: Sequence, count: int) -> tuple[int, list[list[int]]]:
        """Blocks for drafts behind all of a sequence's tokens, which ``settle`` takes back.

        Returns:
            The number of drafts, at most ``count``, that there is room for; and their
            ``spare_blocks``.
        """
        held, known = self._held[sequence.id], len(sequence.token_ids)
        if not self.reserve(sequence, known + count):
            count = min(count, len(held.tables[0]) * self.block_size - known)
        num_states = sum(self._keeps_state)
        if num_states:
            count = min(count, self.pool.num_free // num_states)
        held.spares = [
            self.pool.allocate(count, owner=sequence.tenant) if keeps_state else []
            for keeps_state in self._keeps_state
        ]
        return count, held.spares

    def settle(self, sequence: Sequence, first: int, num_accepted: int) -> None:
        """After a step with drafts at positions ``first`` and following: what the accepted ones
        left is the sequence's, and all else is given back."""
        held = self._held[sequence.id]
        for table, spares in zip(held.tables, held.spares, strict=False):
            for i, position in enumerate(range(first, first + num_accepted) if spares else ()):
                at = position // self.block_size
                table[at], spares[i] = spares[i], table[at]
        for block in (block for spares in held.spares for block in spares):
            self.pool.release(block)
        held.spares = []
        self.trim(sequence, first + num_accepted)

    def trim(self, sequence: Sequence, num_tokens: int) -> None:
        """Give back the blocks behind those of the first ``num_tokens`` tokens."""
        for table in self._held[sequence.id].tables:
            while len(table) > _ceil_div(num_tokens, self.block_size):
                self.pool.release(table.pop())

    def tables(self, sequence: Sequence) -> list[list[int]]:
        """Block ids by group; the null block where a window has passed. Not a copy."""
        return self._held[sequence.id].tables


def _group_key(group: int, key: bytes) -> bytes:
    return group.to_bytes(2, "little") + key


def _extend_keys(sequence: Sequence, num_blocks: int, block_size: int) -> None:
    """A block's key hashes its tokens and the key before it; the first, the sequence's variant."""
    keys = sequence.block_keys
    for index in range(len(keys), num_blocks):
        tokens = array("q", sequence.token_ids[index * block_size : (index + 1) * block_size])
        digest = hashlib.blake2b(digest_size=_KEY_BYTES, person=b"unisono-kv")
        digest.update(keys[-1] if keys else sequence.variant.salt())
        digest.update(tokens.tobytes())
        keys.append(digest.digest())
