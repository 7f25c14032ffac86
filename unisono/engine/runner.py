"""The runner protocol: whoever carries batches out, a model on a device or a cost model in
virtual time."""

from __future__ import annotations

from typing import Protocol

from unisono.core.batch import Batch, RowResult


class Runner(Protocol):
    """Any object with these methods."""

    def run(self, batch: Batch) -> list[RowResult]:
        """Carry out one step: one result per row, in order.

        Raises:
            EngineDeadError: a part of the runner is gone; any other error fails the step alone.
        """
        ...

    def check(self) -> None:
        """Raises:
        EngineDeadError: a part of the runner has failed between two steps.
        """
        ...

    def close(self) -> None:
        """Release what the runner holds; nothing is run any more."""
        ...
