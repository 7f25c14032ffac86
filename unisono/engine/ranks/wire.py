"""Messages between rank 0 and the other ranks of an engine, in frames (``core.frames``).

A row of a step is what the forward pass needs of it; how tokens are chosen stays with rank 0. Block
tables travel as differences from what was sent before (``engine.seats``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unisono.core.batch import Batch, BatchRow
from unisono.core.codec import ProtocolError
from unisono.core.config import EngineConfig
from unisono.core.errors import UnisonoError
from unisono.core.sampling import SamplingParams
from unisono.engine.seats import Change, SeatedTables, Seats

_NO_PARAMS = SamplingParams()


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The order to a rank to load its part."""

    folder: Path
    config: EngineConfig
    device: str
    rank: int
    meeting_place: Path


@dataclass(slots=True)
class Row:
    """The part of a :class:`BatchRow` that the forward pass needs."""

    token_ids: Sequence[int]
    start: int
    seat: int
    changes: list[Change]
    num_logits: int
    num_targets: int
    rope_length: int
    spare_blocks: Sequence[Sequence[int]] = ()
    adapter: str = ""


@dataclass(slots=True)
class Step:
    """Work for one forward pass."""

    rows: list[Row]

    @classmethod
    def of(cls, batch: Batch, seats: Seats) -> Step:
        return cls(
            [
                Row(
                    row.token_ids,
                    row.start,
                    seated.seat,
                    seated.changes,
                    row.num_logits,
                    len(row.prompt_targets),
                    row.rope_length,
                    row.spare_blocks,
                    row.adapter,
                )
                for row, seated in zip(batch.rows, seats.seat(batch.rows), strict=True)
            ]
        )

    def batch(self, tables: SeatedTables) -> Batch:
        """With dummies for what concerns rank 0 alone; ``tables`` are brought up to date.

        Raises:
            ProtocolError: a change of what is not there.
        """
        try:
            return Batch(
                [_batch_row(row, tables.apply(row.seat, row.changes)) for row in self.rows]
            )
        except IndexError as error:
            raise ProtocolError("a change of a block table that is not there") from error


def _batch_row(row: Row, block_tables: list[list[int]]) -> BatchRow:
    return BatchRow(
        request_id=str(row.seat),
        token_ids=row.token_ids,
        start=row.start,
        block_tables=block_tables,
        num_logits=row.num_logits,
        params=_NO_PARAMS,
        seed=0,
        num_prompt_tokens=0,
        all_token_ids=(),
        prompt_targets=[0] * row.num_targets,
        rope_length=row.rope_length,
        spare_blocks=row.spare_blocks,
        adapter=row.adapter,
    )


@dataclass(frozen=True, slots=True)
class LoadAdapter:
    """The order to load a part of an adapter that rank 0 has found good."""

    key: str
    folder: Path


@dataclass(frozen=True, slots=True)
class DropAdapter:
    key: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The rank has its part of the weights."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The rank has its memory: steps may come."""


@dataclass(frozen=True, slots=True)
class Failed:
    error: UnisonoError
    when_s: float
    """On the monotonic clock, which all processes share."""


TO_RANK = (Start, Step, LoadAdapter, DropAdapter)
FROM_RANK = (Loaded, Ready, Failed)
