"""The drafter protocol: whoever guesses the tokens that come next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from unisono.core.batch import BatchRow


class Drafter(Protocol):
    """Its guesses may be wrong, too few or none; nothing but time depends on them."""

    @property
    def is_free(self) -> bool:
        """True where a guess costs next to nothing, so that it is made whether it is used or not,
        and what became of it is known all the time."""
        ...

    def draft(self, rows: Sequence[BatchRow], counts: Sequence[int]) -> list[list[int]]:
        """Tokens that may follow ``all_token_ids`` of each row, at most so many."""
        ...

    def forget(self, request_id: str) -> None:
        """The request is over; unknown ids are ignored."""
        ...
