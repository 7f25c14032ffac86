"""What rank 0 and the other ranks of an engine say to one another, in frames.

To a rank:    ``["start", folder, config, device, rank, meeting place]``,
              ``["step", [row...]]``
From a rank:  ``["loaded"]``, ``["ready"]``, ``["failed", error, monotonic time in s]``

A row of a step is what the forward pass needs of it; how tokens are chosen stays with rank 0.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from unisono.core import errors
from unisono.core.batch import Batch, BatchRow
from unisono.core.config import EngineConfig
from unisono.core.frames import ProtocolError
from unisono.core.sampling import SamplingParams

__all__ = ["RankStart", "decode_step", "encode_step"]

_NO_PARAMS = SamplingParams()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RankStart:
    """What a rank has to know before it can load its part."""

    folder: Path
    config: EngineConfig
    device: str
    rank: int
    meeting_place: Path

    def encode(self) -> list[Any]:
        return [
            "start",
            str(self.folder),
            dataclasses.asdict(self.config),
            self.device,
            self.rank,
            str(self.meeting_place),
        ]

    @classmethod
    def decode(cls, message: list[Any]) -> RankStart:
        """Raises:
        ProtocolError: not a ``start`` message.
        """
        match message:
            case [
                "start",
                str(folder),
                dict(config),
                str(device),
                int(rank),
                str(meeting_place),
            ]:
                return cls(
                    folder=Path(folder),
                    config=_config(config),
                    device=device,
                    rank=rank,
                    meeting_place=Path(meeting_place),
                )
        raise ProtocolError("the first message is not a start message")


def _config(fields: dict[Any, Any]) -> EngineConfig:
    try:
        return EngineConfig(**fields)
    except (TypeError, errors.ConfigError) as error:
        raise ProtocolError("a start message with a wrong configuration") from error


def encode_step(batch: Batch) -> list[Any]:
    return [
        "step",
        [
            [
                row.token_ids,
                row.start,
                row.block_tables,
                row.num_logits,
                len(row.prompt_targets),
                row.rope_length,
            ]
            for row in batch.rows
        ],
    ]


def decode_step(message: list[Any]) -> Batch:
    """The batch, with dummies for what concerns rank 0 alone.

    Raises:
        ProtocolError: not a ``step`` message.
    """
    match message:
        case ["step", list(rows)]:
            return Batch([_decode_row(fields) for fields in rows])
    raise ProtocolError("an unknown message")


def _decode_row(fields: Any) -> BatchRow:
    match fields:
        case [
            list(token_ids),
            int(start),
            list(block_tables),
            int(num_logits),
            int(num_targets),
            int(rope_length),
        ]:
            return BatchRow(
                request_id="",
                token_ids=token_ids,
                start=start,
                block_tables=block_tables,
                num_logits=num_logits,
                params=_NO_PARAMS,
                seed=0,
                num_prompt_tokens=0,
                all_token_ids=(),
                prompt_targets=[0] * num_targets,
                rope_length=rope_length,
            )
    raise ProtocolError("a row has six fields")
