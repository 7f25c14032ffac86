"""Finds the first of several marks in a text that is not yet whole."""

from __future__ import annotations

import re
from collections.abc import Mapping


class MarkFinder:
    """The mark that is complete first is the first; of several that end together, the longest. So
    it does not matter how much text is there beyond it.

    Args:
        marks: the name of each mark, by its letters in the text.
    """

    def __init__(self, marks: Mapping[str, str]) -> None:
        self._names = dict(marks)
        letters = sorted(self._names, key=len)
        self._pattern = re.compile("|".join(map(re.escape, letters)) or "(?!)")
        self._longest = max(map(len, letters), default=1)
        self._first = frozenset(one[0] for one in letters)

    def find(self, text: str, start: int) -> tuple[int, int, str] | None:
        """Begin, end and name of a mark."""
        found = self._pattern.search(text, start)
        if found is None:
            return None
        while inner := self._pattern.search(text, found.start() + 1, found.end() - 1):
            found = inner
        return found.start(), found.end(), self._names[found.group()]

    def certain_end(self, text: str, start: int) -> int:
        """The end of the text that is part of no mark, whatever follows; it holds none."""
        for at in range(max(start, len(text) - self._longest + 1), len(text)):
            if text[at] in self._first:
                rest = text[at:]
                if any(letters.startswith(rest) for letters in self._names):
                    return at
        return len(text)
