"""The time of a step with drafts, next to one without: measured, since devices differ.

Pure; what is measured decides how many tokens are drafted, and so never which tokens come.
"""

from __future__ import annotations

_GUESS = 0.15
"""Share of a step that one more token of each row takes, before it was ever measured."""
_LEAST = 0.005
"""The same at least, however lucky a measurement."""
_RATE = 1 / 16
_MOST_TIMES = 2.0
"""A step that took longer than so many others did counts as so many: it was interrupted."""
_AGE = 64
"""Steps with drafts after which one without is due, to compare with."""


class Costs:
    """Mean seconds of steps by their number of rows, and of drafts for each row."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], _Mean] = {}
        self._since_plain: dict[int, int] = {}

    def add(self, num_rows: int, num_drafts: int, seconds: float) -> None:
        """One step in which all rows were answers."""
        self._since_plain[num_rows] = self._since_plain.get(num_rows, 0) + 1 if num_drafts else 0
        each = max(1, round(num_drafts / num_rows)) if num_drafts else 0
        plain = self._cells.get((num_rows, 0))
        if each and plain is not None:
            seconds = plain.value + (seconds - plain.value) * each * num_rows / num_drafts
        self._cells.setdefault((num_rows, each), _Mean()).add(seconds)

    def is_due(self, num_rows: int) -> bool:
        """True where a step without drafts has to be measured."""
        return self._since_plain.get(num_rows, _AGE) >= _AGE

    def times(self, num_rows: int, most: int) -> list[float]:
        """The time of a step with 0, 1, ... ``most`` drafts for each row, 1 being that without."""
        plain = self._cells.get((num_rows, 0))
        share, found = _GUESS, [1.0]
        if plain is None or plain.value <= 0:
            return [1.0 + share * each for each in range(most + 1)]
        known = [each for each in range(1, most + 1) if (num_rows, each) in self._cells]
        for each in range(1, most + 1):
            if known:
                nearest = min(known, key=lambda one: abs(one - each))
                share = (self._cells[num_rows, nearest].value / plain.value - 1) / nearest
            found.append(1.0 + max(share, _LEAST) * each)
        return found


class _Mean:
    """A mean of all at first, then of the last few."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.count, self.value = 0, 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        if self.count > 1:
            seconds = min(seconds, _MOST_TIMES * self.value)
        self.value += (seconds - self.value) * max(1 / self.count, _RATE)
