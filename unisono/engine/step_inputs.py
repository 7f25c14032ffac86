"""The inputs of a forward pass on the device: buffers that each step refills with one copy.

Token ids, positions, slots and lengths travel whole; of the block tables, which stay on the device
by seat, only the entries that are new. A device that reads the host's own memory is given the
tables as lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.core.batch import BatchRow
from unisono.engine.parcel import Parcel, is_host
from unisono.engine.seats import Seats


@dataclass(frozen=True, slots=True)
class HeldTables:
    """The block tables and contexts of R rows, on the device."""

    contexts: Tensor
    """int64 [R]."""
    tables: Tensor
    """Block ids, int64 [R, G, B]; behind a row's last block anything."""


@dataclass(frozen=True, slots=True)
class StepTensors:
    """T tokens in R rows, G cache groups."""

    token_ids: Tensor
    """int64 [T]."""
    positions: Tensor
    """int64 [T]."""
    rope_lengths: Tensor | None
    """int64 [T]; None: all 0."""
    adapters: Tensor | None
    """int64 [T]: numbers of adapters; None: all 0."""
    slots: list[Tensor]
    """By group: int64 [T]."""
    held: HeldTables | None
    """None: read the lists."""


class StepInputs:
    """Refilled by each ``load``; what it returned before is then overwritten."""

    def __init__(self, num_groups: int, block_size: int, device: torch.device) -> None:
        self._num_groups, self._block_size, self._device = num_groups, block_size, device
        self._holds_tables = not is_host(device)
        self._reset()

    def _reset(self) -> None:
        self._parcel = Parcel()
        holds = self._holds_tables
        self._tables = _DeviceTables(self._num_groups, self._device) if holds else None

    def load(self, rows: Sequence[BatchRow], adapters: Sequence[int] = ()) -> StepTensors:
        """Send the inputs of a step to the device, the numbers of the rows' ``adapters`` too, where
        there are any. Where that fails, nobody knows which tables arrived: the next step sends all
        of its own."""
        try:
            return self._load(rows, adapters)
        except BaseException:
            self._reset()
            raise

    def _load(self, rows: Sequence[BatchRow], adapters: Sequence[int]) -> StepTensors:
        parcel, tables = self._parcel, self._tables
        token_ids = parcel.add([token_id for row in rows for token_id in row.token_ids])
        positions = parcel.add([p for row in rows for p in range(row.start, row.end)])
        slots = [parcel.add(self._slots(rows, group)) for group in range(self._num_groups)]
        rope_lengths = None
        if any(row.rope_length for row in rows):
            rope_lengths = parcel.add([row.rope_length for row in rows for _ in row.token_ids])
        numbers = None
        if any(adapters):
            pairs = zip(rows, adapters, strict=True)
            numbers = parcel.add([number for row, number in pairs for _ in row.token_ids])
        changed = None if tables is None else tables.pack(rows, parcel)
        sent = parcel.send(self._device)
        return StepTensors(
            token_ids=sent[token_ids],
            positions=sent[positions],
            rope_lengths=None if rope_lengths is None else sent[rope_lengths],
            adapters=None if numbers is None else sent[numbers],
            slots=[sent[at] for at in slots],
            held=None if tables is None or changed is None else tables.refill(sent[changed:]),
        )

    def _slots(self, rows: Sequence[BatchRow], group: int) -> list[int]:
        slots: list[int] = []
        size = self._block_size
        for row in rows:
            table, start = row.block_tables[group], row.start
            if row.end - start == 1:
                slots.append(table[start // size] * size + start % size)
            else:
                slots += [table[p // size] * size + p % size for p in range(start, row.end)]
        return slots


class _DeviceTables:
    """Block tables on the device, by seat: int64 [seats, G, B]. Grows by doubling."""

    def __init__(self, num_groups: int, device: torch.device) -> None:
        self._seats = Seats(num_groups)
        self._by_seat = torch.zeros((1, num_groups, 1), dtype=torch.int64, device=device)
        self._by_row = torch.empty_like(self._by_seat)

    def pack(self, rows: Sequence[BatchRow], parcel: Parcel) -> int:
        """Add what ``refill`` needs to the parcel; where it begins."""
        seated = self._seats.seat(rows)
        widths = [len(table) for row in rows for table in row.block_tables]
        self._grow(len(self._seats), max(widths, default=0))
        _, num_groups, width = self._by_seat.shape
        first = parcel.add([row.end for row in rows])
        parcel.add([row.seat for row in seated])
        parcel.add(
            [
                (row.seat * num_groups + group) * width + index
                for row in seated
                for group, index, _ in row.changes
            ]
        )
        parcel.add([block for row in seated for _, _, block in row.changes])
        return first

    def refill(self, sent: list[Tensor]) -> HeldTables:
        """The tables of the step's rows."""
        contexts, seats, places, blocks = sent
        if places.numel():
            self._by_seat.view(-1).index_copy_(0, places, blocks)
        rows = self._by_row[: seats.numel()]
        return HeldTables(contexts, torch.index_select(self._by_seat, 0, seats, out=rows))

    def _grow(self, num_seats: int, width: int) -> None:
        seats, num_groups, blocks = self._by_seat.shape
        if num_seats <= seats and width <= blocks:
            return
        shape = (_at_least(seats, num_seats), num_groups, _at_least(blocks, width))
        larger = self._by_seat.new_zeros(shape)
        larger[:seats, :, :blocks] = self._by_seat
        self._by_seat, self._by_row = larger, torch.empty_like(larger)


def _at_least(size: int, wanted: int) -> int:
    """``size`` doubled until it is no less than wanted."""
    while size < wanted:
        size *= 2
    return size
