"""The pool of KV blocks: holders, free blocks, and what free blocks still contain."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.pool_invariants import check_pool
from unisono.engine.block_pool import NULL_BLOCK, BlockPool


def test_the_null_block_is_never_handed_out() -> None:
    pool = BlockPool(5)
    assert pool.num_free == 4
    assert pool.allocate(4) == [1, 2, 3, 4]
    assert NULL_BLOCK not in (1, 2, 3, 4)


def test_more_than_there_is_changes_nothing() -> None:
    pool = BlockPool(4)
    with pytest.raises(ValueError, match="4 blocks asked for, 3 free"):
        pool.allocate(4)
    assert pool.num_free == 3


def test_a_pool_of_the_null_block_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="one more"):
        BlockPool(1)


def test_neighbours_are_preferred() -> None:
    pool = BlockPool(10)
    first = pool.allocate(2)
    other = pool.allocate(1)
    assert (first, other) == ([1, 2], [3])
    assert pool.allocate(2, after=5) == [6, 7]
    assert pool.allocate(1, after=3) == [4]


def test_a_block_is_free_when_its_last_holder_lets_go() -> None:
    pool = BlockPool(3)
    (block,) = pool.allocate(1)
    pool.retain(block)
    pool.release(block)
    assert (pool.num_holders(block), pool.num_free) == (1, 1)
    pool.release(block)
    assert (pool.num_holders(block), pool.num_free) == (0, 2)
    with pytest.raises(ValueError, match="no holder"):
        pool.release(block)


def test_a_free_block_is_found_by_its_content_until_it_is_handed_out() -> None:
    pool = BlockPool(3)
    old, new = pool.allocate(2)
    for block, key in ((old, b"old"), (new, b"new")):
        pool.publish(block, key)
        pool.release(block)
    assert pool.find(b"old") == old

    pool.retain(old)  # in use again, so it is not the one to go
    assert pool.allocate(1) == [new]
    assert pool.find(b"new") is None
    assert pool.find(b"old") == old


def test_blank_blocks_go_first_then_the_one_that_was_freed_longest_ago() -> None:
    pool = BlockPool(5)
    a, b, c = pool.allocate(3)
    for block in (c, a, b):
        pool.publish(block, bytes([block]))
        pool.release(block)
    assert pool.allocate(1, after=9) == [4]
    assert pool.allocate(1, after=9) == [c]
    assert pool.allocate(1, after=9) == [a]


def test_a_new_table_does_not_take_content_out_of_turn_but_one_that_goes_on_does() -> None:
    pool = BlockPool(5)
    for block in reversed(pool.allocate(4)):
        pool.publish(block, bytes([block]))
        pool.release(block)
    assert pool.allocate(2) == [3, 4]
    assert pool.find(bytes([1])) == 1
    pool.release(4)
    pool.retain(2)
    pool.release(2)
    assert pool.allocate(1, after=3) == [4]
    assert pool.allocate(1, after=1) == [2]


def test_the_first_block_of_a_content_stays_the_one_that_is_found() -> None:
    pool = BlockPool(3)
    first, second = pool.allocate(2)
    pool.publish(first, b"same")
    pool.publish(second, b"same")
    assert pool.find(b"same") == first
    pool.publish(first, b"other")
    assert pool.find(b"other") is None
    check_pool(pool)


def test_unpublished_content_is_not_found() -> None:
    pool = BlockPool(3)
    held, freed = pool.allocate(2)
    pool.publish(held, b"held")
    pool.publish(freed, b"freed")
    pool.release(freed)
    pool.unpublish(held)
    pool.unpublish(freed)
    pool.unpublish(NULL_BLOCK)
    assert pool.find(b"held") is None
    assert pool.find(b"freed") is None
    assert pool.num_free == 1
    check_pool(pool)


class PoolAgainstAModel(RuleBasedStateMachine):
    """Holders as a multiset and content as a dict are all there is to a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(7)
        self.holders = dict.fromkeys(range(1, 7), 0)
        self.content: dict[int, bytes] = {}

    def held(self) -> list[int]:
        return [block for block, count in self.holders.items() if count]

    @rule(count=st.integers(0, 6), after=st.integers(0, 8))
    def allocate(self, count: int, after: int) -> None:
        if count > self.pool.num_free:
            with pytest.raises(ValueError):
                self.pool.allocate(count, after=after)
            return
        blocks = self.pool.allocate(count, after=after)
        assert blocks == sorted(set(blocks))
        assert len(blocks) == count
        for block in blocks:
            assert self.holders[block] == 0
            self.holders[block] = 1
            self.content.pop(block, None)

    @precondition(held)
    @rule(pick=st.integers(0, 99), key=st.sampled_from([b"a", b"b", b"c"]))
    def publish(self, pick: int, key: bytes) -> None:
        block = self.held()[pick % len(self.held())]
        self.pool.publish(block, key)
        if block not in self.content and key not in self.content.values():
            self.content[block] = key

    @rule(block=st.integers(1, 6))
    def unpublish(self, block: int) -> None:
        self.pool.unpublish(block)
        self.content.pop(block, None)

    @rule(key=st.sampled_from([b"a", b"b", b"c"]))
    def find_and_retain(self, key: bytes) -> None:
        block = self.pool.find(key)
        expected = {content: block for block, content in self.content.items()}
        assert block == expected.get(key)
        if block is not None:
            self.pool.retain(block)
            self.holders[block] += 1

    @precondition(held)
    @rule(pick=st.integers(0, 99))
    def release(self, pick: int) -> None:
        block = self.held()[pick % len(self.held())]
        self.pool.release(block)
        self.holders[block] -= 1

    @invariant()
    def same_as_the_model(self) -> None:
        check_pool(self.pool)
        assert self.pool.num_free == 6 - len(self.held())
        assert all(self.pool.num_holders(block) == n for block, n in self.holders.items())


TestPoolAgainstAModel = PoolAgainstAModel.TestCase
TestPoolAgainstAModel.settings = settings(max_examples=40, stateful_step_count=25)
