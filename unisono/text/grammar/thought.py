"""The reasoning of an answer under a budget: how long it is, and whether it has to end now.

Its end is forced at a clean place shortly before the budget is spent: behind a line, or else behind
a sentence, or else where nothing is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from unisono.core.constraint import ReasoningBudget

_MOST_SPARED = 64
"""Tokens of a budget that may be left, so that reasoning ends at a clean place."""
_SPARED_SHARE = 4
_SENTENCE_ENDS = (b".", b"!", b"?", "。".encode(), "！".encode(), "？".encode())


class Thought:
    """State is a function of the answer's tokens.

    Args:
        tokens: the vocabulary, by id.
    """

    def __init__(self, budget: ReasoningBudget, tokens: Sequence[bytes]) -> None:
        self._budget = budget
        self._tokens = tokens
        self._num_tokens = 0
        self._is_open = budget.is_open
        self._last = b""

    def take(self, token_ids: Sequence[int]) -> None:
        for token_id in token_ids:
            if token_id == self._budget.closing_token_id:
                self._is_open = False
            elif token_id == self._budget.opening_token_id:
                self._is_open = True
            elif self._is_open:
                self._num_tokens += 1
                self._last = self._tokens[token_id]

    @property
    def must_end(self) -> bool:
        left = self._budget.num_tokens - self._num_tokens
        if not self._is_open or left <= 0:
            return self._is_open
        spared = min(_MOST_SPARED, self._budget.num_tokens // _SPARED_SHARE)
        if b"\n" in self._last:
            return left <= spared
        return left <= spared // 2 and self._last.rstrip().endswith(_SENTENCE_ENDS)

    @property
    def closing_token_id(self) -> int:
        return self._budget.closing_token_id

    def copy(self) -> Thought:
        return copy(self)
