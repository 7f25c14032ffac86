"""The state of one answer under a constraint, and the tokens that may come next."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from ctypes import c_uint32
from typing import NamedTuple

import numpy as np
from llguidance import LLMatcher

from unisono.text.grammar.closing import MOST_TOKENS, Closing, Words, only
from unisono.text.grammar.numbers import DigitMasks, NumberReader
from unisono.text.grammar.thought import Thought

_GROWTH = 4
"""Tokens by which one token may lengthen the way to the end, and itself, as a rule."""


class ConstraintFailedError(Exception):
    """An answer left its constraint, or the next token takes too long to find."""


class JsonEnds(NamedTuple):
    """Helpers by which numbers, and answers whose tokens run out, come to an end."""

    digits: DigitMasks
    closing: Closing


class Matcher:
    """Goes along with the answer: ``advance`` by its tokens, then ``fill`` a mask.

    Args:
        matcher: of the language; None where any answer is of it.
        json_ends: given for answers that are JSON.
        thought: reasoning under a budget.
    """

    def __init__(
        self,
        matcher: LLMatcher | None,
        mask_bytes: int,
        json_ends: JsonEnds | None = None,
        *,
        after_token_id: int | None = None,
        opening_token_id: int | None = None,
        thought: Thought | None = None,
    ) -> None:
        self._matcher = matcher
        self._mask_bytes = mask_bytes
        self._json_ends = json_ends
        self._numbers = NumberReader()
        self._shortest: int | None = None
        self._looks_again_at = MOST_TOKENS
        self._after = after_token_id
        self._opening = opening_token_id
        self._thought = thought

    @property
    def is_free(self) -> bool:
        """True where any token may come: before the one behind which the constraint begins."""
        if self._thought is not None and self._thought.must_end:
            return False
        return self._matcher is None or (self._after is not None and self._opening is None)

    def advance(self, token_ids: Sequence[int]) -> None:
        """Take in tokens of the answer.

        Raises:
            ConstraintFailedError: they are not what the constraint allows.
        """
        rest = list(token_ids)
        if self._thought is not None:
            self._thought.take(rest)
        if rest and self._opening is not None:
            if rest[0] != self._opening:
                self._after = None
            self._opening = None
        if self._after is not None:
            if self._after not in rest:
                return
            rest = rest[rest.index(self._after) + 1 :]
            self._after = None
        if self._matcher is None:
            return
        if rest and not self._matcher.consume_tokens(rest):
            raise self._failure(self._matcher)
        if self._json_ends is not None:
            for token_id in rest:
                self._numbers.read(self._json_ends.digits.tokens[token_id])

    def copy(self) -> Matcher:
        """The same state, which goes its own way."""
        other = copy(self)
        other._matcher = None if self._matcher is None else self._matcher.deep_copy()
        other._numbers = copy(self._numbers)
        other._thought = None if self._thought is None else self._thought.copy()
        return other

    @property
    def may_end(self) -> bool:
        """True where the answer is whole."""
        if self._matcher is None or (self._thought is not None and self._thought.must_end):
            return False
        return self._matcher.is_accepting()

    def fill(self, address: int, room: int | None = None) -> None:
        """Write the mask of the next token: bit i of little-endian words is token i.

        Args:
            room: tokens that may still come, if that is known.

        Raises:
            ConstraintFailedError: it takes more than a mask may.
        """
        if self._thought is not None and self._thought.must_end:
            only(self._thought.closing_token_id, self._words_at(address))
            return
        assert self._matcher is not None
        self._matcher.unsafe_compute_mask_ptr(address, self._mask_bytes)
        if self._matcher.is_error():
            raise self._failure(self._matcher)
        if self._json_ends is not None:
            digits = self._json_ends.digits
            if (num_digits := self._numbers.room) < digits.most:
                digits.keep_few(num_digits, address)
            if room is not None and room <= self._looks_again_at:
                self._end_in_time(self._matcher, self._json_ends.closing, address, room)
        if self._opening is not None:
            word = c_uint32.from_address(address + self._opening // 32 * 4)
            word.value |= 1 << self._opening % 32

    def _end_in_time(self, matcher: LLMatcher, closing: Closing, address: int, room: int) -> None:
        """Leaves only the way to the end where there is just room for that, and for as much again
        as a whole answer takes: what is begun now has to be ended, too."""
        way = closing.way(matcher, self._numbers)
        if self._shortest is None:
            fresh = matcher.deep_copy()
            fresh.reset()
            self._shortest = len(closing.way(fresh, NumberReader()))
        needed = len(way) + self._shortest
        if room <= needed:
            only(way[0], self._words_at(address))
        self._looks_again_at = room - max(1, (room - needed) // _GROWTH)

    def _words_at(self, address: int) -> Words:
        return np.ctypeslib.as_array((c_uint32 * (self._mask_bytes // 4)).from_address(address))

    @staticmethod
    def _failure(matcher: LLMatcher) -> ConstraintFailedError:
        return ConstraintFailedError(matcher.get_error().split("\n", 1)[0])
