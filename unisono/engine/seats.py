"""Block tables travel as differences: both sides keep each running sequence's tables under a seat.

Pure: no torch, no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unisono.core.batch import BatchRow

Change = tuple[int, int, int]
"""Cache group, index in its table, block."""


@dataclass(frozen=True, slots=True)
class Seated:
    """The seat of one row's block tables, and the entries that the other side does not have yet."""

    seat: int
    changes: list[Change]


class SeatedTables:
    """The tables under each seat, by cache group. One that becomes shorter keeps its old end."""

    def __init__(self, num_groups: int) -> None:
        self._num_groups = num_groups
        self._tables: list[list[list[int]]] = []

    def __len__(self) -> int:
        return len(self._tables)

    def of(self, seat: int) -> list[list[int]]:
        """Block ids by group. Not a copy.

        Raises:
            IndexError: no such seat.
        """
        return self._tables[seat]

    def add(self) -> int:
        """One more seat, with empty tables."""
        self._tables.append([[] for _ in range(self._num_groups)])
        return len(self._tables) - 1

    def apply(self, seat: int, changes: Iterable[Change]) -> list[list[int]]:
        """Take changes in, and return the seat's tables; a seat one beyond the last is added.

        Raises:
            IndexError: no such seat or group, or an index that leaves a gap.
        """
        if seat == len(self._tables):
            self.add()
        tables = self._tables[_checked(seat)]
        for group, index, block in changes:
            table = tables[_checked(group)]
            if index == len(table):
                table.append(block)
            else:
                table[_checked(index)] = block
        return tables


def _checked(index: int) -> int:
    if index < 0:
        raise IndexError(f"index {index} is negative")
    return index


class Seats:
    """The sending side. There are as many seats as the largest step had rows; who has been away
    longest makes room."""

    def __init__(self, num_groups: int) -> None:
        self._sent = SeatedTables(num_groups)
        self._seat_of: OrderedDict[str, int] = OrderedDict()
        """By request id, in the order of use."""

    def __len__(self) -> int:
        return len(self._sent)

    def seat(self, rows: Sequence[BatchRow]) -> list[Seated]:
        """The seat of each row of a step, and what its tables hold that was not sent before."""
        for row in rows:
            if row.request_id in self._seat_of:
                self._seat_of.move_to_end(row.request_id)
        present = {row.request_id for row in rows}
        seatings = []
        for row in rows:
            if row.request_id not in self._seat_of:
                self._seat_of[row.request_id] = self._vacant(present)
            seat = self._seat_of[row.request_id]
            changes = _changes(self._sent.of(seat), row.block_tables)
            self._sent.apply(seat, changes)
            seatings.append(Seated(seat, changes))
        return seatings

    def _vacant(self, present: set[str]) -> int:
        oldest = next(iter(self._seat_of), None)
        if oldest is None or oldest in present:
            return self._sent.add()
        return self._seat_of.pop(oldest)


def _changes(sent: list[list[int]], tables: Sequence[Sequence[int]]) -> list[Change]:
    changes: list[Change] = []
    for group, (old, new) in enumerate(zip(sent, tables, strict=True)):
        if old[: len(new)] != new:
            common = zip(old, new, strict=False)
            changes += [(group, i, block) for i, (was, block) in enumerate(common) if was != block]
            changes += [(group, i, new[i]) for i in range(len(old), len(new))]
    return changes
