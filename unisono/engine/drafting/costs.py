"""The time of a step with drafts, next to one without: measured, since devices differ.

Pure; what is measured decides how many tokens are drafted, and so never which tokens come.
"""

from __future__ import annotations

_GUESS = 0.15
"""Share of a step that one more token of each row takes, before it was ever measured."""
_LEAST = 0.005
"""The same at least, however lucky a measurement."""
_DOWN, _UP = 1 / 4, 1 / 32
"""Shares that a new time has, where it is shorter and where it is longer."""
_MOST_TIMES = 2.0
"""A step that took longer than so many others did counts as so many: it was interrupted."""
_LASTS = 16
"""Steps for which times are kept before they are worked out again."""
_AGE = 64
"""Steps with drafts after which one without is due, to compare with."""


class Costs:
    """Usual seconds of steps by their number of rows, and of drafts for each row."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], _Usual] = {}
        self._since_plain: dict[int, int] = {}
        self._times: dict[tuple[int, int], list[float]] = {}
        self._num_added = 0

    def add(self, num_rows: int, num_drafts: int, seconds: float) -> None:
        """One step in which all rows were answers."""
        self._since_plain[num_rows] = self._since_plain.get(num_rows, 0) + 1 if num_drafts else 0
        self._num_added += 1
        if self._num_added % _LASTS == 0 or num_drafts:
            self._times.clear()
        each = max(1, round(num_drafts / num_rows)) if num_drafts else 0
        plain = self._cells.get((num_rows, 0))
        if each and plain is not None:
            seconds = plain.value + (seconds - plain.value) * each * num_rows / num_drafts
        self._cells.setdefault((num_rows, each), _Usual()).add(seconds)

    def is_due(self, num_rows: int) -> bool:
        """True where a step without drafts has to be measured."""
        return self._since_plain.get(num_rows, _AGE) >= _AGE

    def times(self, num_rows: int, most: int) -> list[float]:
        """The time of a step with 0, 1, ... ``most`` drafts for each row, 1 being that without."""
        found = self._times.get((num_rows, most))
        if found is None:
            found = self._times[num_rows, most] = self._worked_out(num_rows, most)
        return found

    def _worked_out(self, num_rows: int, most: int) -> list[float]:
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


class _Usual:
    """The time that a step takes where nothing interrupts it: what is shorter counts for more."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, seconds: float) -> None:
        if not self.value:
            self.value = seconds
        seconds = min(seconds, _MOST_TIMES * self.value)
        self.value += (seconds - self.value) * (_DOWN if seconds < self.value else _UP)
