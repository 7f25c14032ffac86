"""Invariants of a pool of blocks, which hold after every step."""

from __future__ import annotations

from collections import Counter

from unisono.engine.block_pool import NULL_BLOCK, BlockPool


def check_pool(pool: BlockPool) -> None:
    """Assert that holders, owners, free blocks and published content agree."""
    evictable = {block for blocks in pool._evictable.values() for block in blocks}
    assert len(evictable) == pool._num_evictable
    assert all(
        pool._owner_of[b] == owner for owner in pool._evictable for b in pool._evictable[owner]
    )
    held = Counter(pool._owner_of[b] for b in range(1, pool.num_blocks) if pool._holders[b])
    assert held == pool._num_held
    free = set(pool._blank) | evictable
    assert not set(pool._blank) & evictable
    assert NULL_BLOCK not in free
    assert pool._holders[NULL_BLOCK] == 0
    assert NULL_BLOCK not in pool._key_of
    for block in range(1, pool.num_blocks):
        assert (pool._holders[block] == 0) == (block in free), block
    assert {pool._block_of[key] for key in pool._key_of.values()} == set(pool._key_of)
    assert all(block in pool._key_of for block in evictable)
