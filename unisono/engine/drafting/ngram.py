"""Drafts from what a request has said before: where its last few tokens stood already, in prompt
or answer, what followed them there may follow again.

Pure: no torch, no model. An index of the places grows by each token as it comes, in constant time.
"""

from __future__ import annotations

from collections.abc import Sequence

from unisono.core.batch import BatchRow

_LENGTHS = (4, 2)
"""Tokens that have to be the same; the longest is looked for first."""
_LONG_RUN = 4
"""Tokens alike in a row, behind which one other token, such as a number, ends no likeness."""


class NgramDrafter:
    """One index for each request in flight."""

    is_free = True

    def __init__(self) -> None:
        self._histories: dict[str, History] = {}

    def draft(self, rows: Sequence[BatchRow], counts: Sequence[int]) -> list[list[int]]:
        return [self._draft(row, count) for row, count in zip(rows, counts, strict=True)]

    def _draft(self, row: BatchRow, count: int) -> list[int]:
        history = self._histories.get(row.request_id)
        if history is None:
            history = self._histories[row.request_id] = History()
        history.read(row.all_token_ids)
        return history.guess(row.all_token_ids, count)

    def forget(self, request_id: str) -> None:
        self._histories.pop(request_id, None)


class History:
    """The places of the n-grams of a text that grows, and the place that it goes on like."""

    def __init__(self) -> None:
        self._places: list[dict[tuple[int, ...], int]] = [{} for _ in _LENGTHS]
        self._num_read = 0
        self._like: int | None = None
        """The token here is the guess for the one that comes next."""
        self._run = 0
        """Guesses that came true in a row."""

    def read(self, token_ids: Sequence[int]) -> None:
        """Take in what is new of the text. A place is kept as long as it goes on alike."""
        for end in range(self._num_read + 1, len(token_ids) + 1):
            found = self._index(token_ids, end)
            if self._like is not None and token_ids[self._like] == token_ids[end - 1]:
                self._like += 1
                self._run += 1
                continue
            going_on = self._like + 1 if self._like and self._run >= _LONG_RUN else None
            self._like = next((at for at in (found[0], going_on, found[1]) if at is not None), None)
            self._run = 0
        self._num_read = len(token_ids)

    def _index(self, token_ids: Sequence[int], end: int) -> list[int | None]:
        """The last place behind each of the n-grams that end here, which are then noted."""
        found = []
        for length, places in zip(_LENGTHS, self._places, strict=True):
            key = tuple(token_ids[max(0, end - length) : end])
            found.append(places.get(key) if end >= length else None)
            if end >= length:
                places[key] = end
        return found

    def guess(self, token_ids: Sequence[int], count: int) -> list[int]:
        """At most ``count`` tokens; what is beyond the end is what was guessed for its place."""
        if self._like is None:
            return []
        guessed = list(token_ids[self._like : self._like + count])
        for i in range(count - len(guessed)):
            guessed.append(guessed[i])
        return guessed
