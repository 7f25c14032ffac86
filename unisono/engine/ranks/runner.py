"""A runner of one rank's part: rank 0 leads, the others follow.

All run the same forward pass in the same order; what is chosen from the logits is rank 0's affair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unisono.core.batch import Batch, BatchRow
from unisono.core.errors import EngineDeadError
from unisono.core.request import TokenLogprob
from unisono.engine.model_runner import Forwarded, ModelRunner
from unisono.engine.ranks.team import Ranks
from unisono.engine.ranks.wire import DropAdapter, LoadAdapter, Step
from unisono.engine.seats import SeatedTables, Seats


class LeadingRunner(ModelRunner):
    """Rank 0's. An error of the forward pass leaves the ranks out of step and ends the engine; one
    behind it, in choosing tokens, is handled as everywhere."""

    def __init__(self, *args: Any, ranks: Ranks, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ranks = ranks
        self._seats = Seats(len(self.groups))

    def _forward(self, batch: Batch) -> Forwarded:
        """Raises:
        EngineDeadError: it failed, on whichever rank.
        """
        try:
            self.ranks.send(Step.of(batch, self._seats))
            return super()._forward(batch)
        except EngineDeadError:
            raise
        except Exception as error:
            raise self.ranks.failure(error) from error
        except BaseException as interrupt:
            self.ranks.failure(interrupt)
            raise

    def load_adapter(self, key: str, folder: Path) -> int:
        """Its own part first, so that one that does not fit fails here alone."""
        num_bytes = super().load_adapter(key, folder)
        self.ranks.send(LoadAdapter(key, folder.absolute()))
        return num_bytes

    def drop_adapter(self, key: str) -> None:
        super().drop_adapter(key)
        self.ranks.send(DropAdapter(key))

    def check(self) -> None:
        self.ranks.check()

    def close(self) -> None:
        self.ranks.close()


class FollowingRunner(ModelRunner):
    """Any other rank's."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tables = SeatedTables(len(self.groups))

    @torch.inference_mode()
    def follow(self, step: Step) -> None:
        """Take part in a step."""
        with self.hardware.activate():
            self._forward(step.batch(self._tables))

    def _score(self, hidden: Tensor, row: BatchRow) -> list[TokenLogprob]:
        for _ in self._scored_logits(hidden, row):
            pass
        return []
