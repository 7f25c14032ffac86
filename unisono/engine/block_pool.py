"""Blocks of KV memory: who holds each, which are free, and what the free ones still contain.

Knows ids, reference counts and owners only; what a block means is its user's business. A freed
block keeps its published content until it is handed out again: first those of the owner that has
most blocks, the oldest first, so that who fills the pool pushes out what is its own.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

NULL_BLOCK = 0
"""Never handed out: it stands where a table has no block, and padded rows write there."""


class BlockPool:
    """``num_blocks`` blocks, the null block among them."""

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 2:
            raise ValueError("a pool needs the null block and at least one more")
        self.num_blocks = num_blocks
        self._holders = [0] * num_blocks
        self._blank: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, num_blocks))
        self._evictable: dict[str, OrderedDict[int, None]] = {}
        self._num_evictable = 0
        self._owner_of = [""] * num_blocks
        self._num_held: Counter[str] = Counter()
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}

    @property
    def num_free(self) -> int:
        return len(self._blank) + self._num_evictable

    def num_held(self, owner: str) -> int:
        """Blocks of an owner that have a holder."""
        return self._num_held[owner]

    def num_holders(self, block: int) -> int:
        return self._holders[block]

    def allocate(self, count: int, *, after: int = NULL_BLOCK, owner: str = "") -> list[int]:
        """``count`` blocks of an owner, ascending, next to ``after`` where that is free.

        Neighbours let a device read a sequence's cache as one piece. A table that has begun takes
        its neighbour out of turn; a new one takes content only in the order of its age.
        """
        if count > self.num_free:
            raise ValueError(f"{count} blocks asked for, {self.num_free} free")
        blocks = []
        goes_on = after != NULL_BLOCK
        for _ in range(count):
            after = self._take(after + 1, out_of_turn=goes_on)
            blocks.append(after)
            self._holders[after] = 1
            self._owner_of[after] = owner
        self._num_held[owner] += count
        return sorted(blocks)

    def _take(self, wanted: int, *, out_of_turn: bool) -> int:
        if self._blank:
            if wanted not in self._blank:
                return self._blank.popitem(last=False)[0]
            del self._blank[wanted]
            return wanted
        evictable = self._evictable[max(self._evictable, key=self._num_blocks_of)]
        block = wanted if out_of_turn and wanted in evictable else next(iter(evictable))
        self.unpublish(block)
        del self._blank[block]
        return block

    def _num_blocks_of(self, owner: str) -> int:
        return self._num_held[owner] + len(self._evictable[owner])

    def retain(self, block: int) -> None:
        """One more holder; a free block with published content comes back to life."""
        if self._holders[block] == 0:
            self._forget_evictable(block)
            self._num_held[self._owner_of[block]] += 1
        self._holders[block] += 1

    def release(self, block: int) -> None:
        """One holder less; without holders the block is free."""
        if self._holders[block] < 1:
            raise ValueError(f"block {block} has no holder")
        self._holders[block] -= 1
        if self._holders[block] == 0:
            self._free(block)

    def _free(self, block: int) -> None:
        owner = self._owner_of[block]
        self._num_held[owner] -= 1
        if not self._num_held[owner]:
            del self._num_held[owner]
        if block not in self._key_of:
            self._blank[block] = None
            return
        self._evictable.setdefault(owner, OrderedDict())[block] = None
        self._num_evictable += 1

    def _forget_evictable(self, block: int) -> None:
        owner = self._owner_of[block]
        evictable = self._evictable[owner]
        del evictable[block]
        self._num_evictable -= 1
        if not evictable:
            del self._evictable[owner]

    def publish(self, block: int, key: bytes) -> None:
        """Let others find this held block by its content; the first block of a key stays."""
        if key not in self._block_of and block not in self._key_of:
            self._block_of[key] = block
            self._key_of[block] = key

    def unpublish(self, block: int) -> None:
        """Its content is no longer to be found; a free block becomes blank."""
        key = self._key_of.pop(block, None)
        if key is None:
            return
        del self._block_of[key]
        if self._holders[block] == 0:
            self._forget_evictable(block)
            self._blank[block] = None

    def find(self, key: bytes) -> int | None:
        return self._block_of.get(key)
