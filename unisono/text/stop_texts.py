"""Finds stop texts in text that comes bit by bit. Knows nothing of tokens.

Knuth, Morris, Pratt: Fast Pattern Matching in Strings, SIAM J. Comput. 1977; one automaton for each
stop text, so a character costs the same whatever came before it.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopTexts"]


class StopTexts:
    """Args:
    stops: texts of at least one character.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._automata = [_Automaton(stop) for stop in stops]

    @property
    def num_held(self) -> int:
        """Number of characters at the end that may be the beginning of a stop text."""
        return max((automaton.num_matched for automaton in self._automata), default=0)

    def advance(self, text: str) -> list[tuple[int, str]]:
        """The stop texts that ``text`` completes: where they end in it, and which.

        The first one ends first; of several that end there it is the longest.
        """
        found = [
            (end, automaton.stop) for automaton in self._automata for end in automaton.advance(text)
        ]
        return sorted(found, key=lambda match: (match[0], -len(match[1])))


class _Automaton:
    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.num_matched = 0
        """Length of the longest proper beginning of ``stop`` that the text so far ends with."""
        self._fallback = [0] * (len(stop) + 1)
        matched = 0
        for index in range(1, len(stop)):
            matched = self._step(stop[index], matched)
            self._fallback[index + 1] = matched

    def advance(self, text: str) -> list[int]:
        ends = []
        matched = self.num_matched
        for index, letter in enumerate(text):
            matched = self._step(letter, matched)
            if matched == len(self.stop):
                ends.append(index + 1)
                matched = self._fallback[matched]
        self.num_matched = matched
        return ends

    def _step(self, letter: str, matched: int) -> int:
        while matched and self.stop[matched] != letter:
            matched = self._fallback[matched]
        return matched + 1 if self.stop[matched] == letter else 0
