"""Whose seat and blocks are taken where there are not enough for all.

Each tenant with requests in flight has an equal share of seats and of blocks. It may use what
others leave, and gives that back when they need it: from its last request on, never below its
share, and never its first. What one request alone takes beyond the share stays until it ends.
Pure: no torch, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from operator import attrgetter

from unisono.engine.kv_cache import KVCache
from unisono.engine.sequence import Sequence


class Seating:
    """The running sequences of one moment.

    Args:
        running: by id.
        fixed: ids of those whose blocks others share in this very step; they stay.
        num_tenants: with requests in flight.
        max_num_seqs: seats.
    """

    def __init__(
        self,
        kv: KVCache,
        running: Mapping[str, Sequence],
        fixed: Collection[str],
        *,
        num_tenants: int,
        max_num_seqs: int,
    ) -> None:
        self._kv = kv
        self._running = running
        self._fixed = fixed
        self._blocks = (kv.pool.num_blocks - 1) // num_tenants
        self._seats = max(1, max_num_seqs // num_tenants)

    def to_grow(self, sequence: Sequence) -> Sequence | None:
        """The sequence that gives way to a running one that needs blocks; it may be that one.

        The oldest of all may take from anyone, so that it ends; ``None`` where it has to wait for
        the next step.
        """
        if victim := self._borrower(sequence.tenant, needs_seat=False):
            return victim
        own = self._last_of(sequence.tenant)
        if own is not None and own is not sequence:
            return own
        oldest = min(self._running.values(), key=attrgetter("arrival"))
        others = [one for one in self._running.values() if one.tenant != sequence.tenant]
        if sequence is not oldest or not others:
            return sequence
        return max(
            (one for one in others if self._is_movable(one)),
            key=attrgetter("arrival"),
            default=None,
        )

    def to_admit(self, sequence: Sequence, *, needs_seat: bool, num_blocks: int) -> Sequence | None:
        """The sequence that gives way to a waiting one; ``None`` where that has to wait.

        A less urgent one of its own tenant; or one of a tenant beyond its share, where with this
        sequence its tenant is still within its own.
        """
        own = self._last_of(sequence.tenant)
        if own is not None and own.request.priority > sequence.request.priority:
            return own
        if self._kv.pool.num_held(sequence.tenant) + num_blocks > self._blocks:
            return None
        if needs_seat and len(self._of(sequence.tenant)) >= self._seats:
            return None
        return self._borrower(sequence.tenant, needs_seat=needs_seat)

    def _borrower(self, tenant: str, *, needs_seat: bool) -> Sequence | None:
        """The last sequence of the tenant, other than this one, that is furthest beyond its share
        and stays within it."""
        candidates = []
        for other in {one.tenant for one in self._running.values()} - {tenant}:
            last = self._last_of(other)
            if last is None or len(self._of(other)) < 2:
                continue
            seats_left = len(self._of(other)) - 1 - self._seats
            blocks_left = self._kv.pool.num_held(other) - self._kv.num_own(last) - self._blocks
            left = seats_left if needs_seat else blocks_left
            if left >= 0:
                candidates.append((left, last.arrival, last))
        return max(candidates)[2] if candidates else None

    def _of(self, tenant: str) -> list[Sequence]:
        return [one for one in self._running.values() if one.tenant == tenant]

    def _last_of(self, tenant: str) -> Sequence | None:
        movable = filter(self._is_movable, self._of(tenant))
        return max(movable, key=lambda one: one.rank, default=None)

    def _is_movable(self, sequence: Sequence) -> bool:
        return sequence.id not in self._fixed
