"""The state of one answer under a constraint, and the tokens that may come next."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from ctypes import c_uint32
from typing import NamedTuple

import numpy as np
from llguidance import LLMatcher

from unisono.text.grammar.closing import MOST_TOKENS, Closing, only
from unisono.text.grammar.numbers import DigitMasks, NumberReader

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
        json_ends: given for answers that are JSON.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        mask_bytes: int,
        json_ends: JsonEnds | None = None,
        *,
        after_token_id: int | None = None,
        opening_token_id: int | None = None,
    ) -> None:
        self._matcher = matcher
        self._mask_bytes = mask_bytes
        self._json_ends = json_ends
        self._numbers = NumberReader()
        self._shortest: int | None = None
        self._looks_again_at = MOST_TOKENS
        self._after = after_token_id
        self._opening = opening_token_id

    @property
    def is_free(self) -> bool:
        """True before the token behind which the constraint begins."""
        return self._after is not None and self._opening is None

    def advance(self, token_ids: Sequence[int]) -> None:
        """Take in tokens of the answer.

        Raises:
            ConstraintFailedError: they are not what the constraint allows.
        """
        rest = list(token_ids)
        if rest and self._opening is not None:
            if rest[0] != self._opening:
                self._after = None
            self._opening = None
        if self._after is not None:
            if self._after not in rest:
                return
            rest = rest[rest.index(self._after) + 1 :]
            self._after = None
        if rest and not self._matcher.consume_tokens(rest):
            raise self._failure()
        if self._json_ends is not None:
            for token_id in rest:
                self._numbers.read(self._json_ends.digits.tokens[token_id])

    def copy(self) -> Matcher:
        """The same state, which goes its own way."""
        other = copy(self)
        other._matcher, other._numbers = self._matcher.deep_copy(), copy(self._numbers)
        return other

    @property
    def may_end(self) -> bool:
        """True where the answer is whole."""
        return self._matcher.is_accepting()

    def fill(self, address: int, room: int | None = None) -> None:
        """Write the mask of the next token: bit i of little-endian words is token i.

        Args:
            room: tokens that may still come, if that is known.

        Raises:
            ConstraintFailedError: it takes more than a mask may.
        """
        self._matcher.unsafe_compute_mask_ptr(address, self._mask_bytes)
        if self._matcher.is_error():
            raise self._failure()
        if self._json_ends is not None:
            digits = self._json_ends.digits
            if (num_digits := self._numbers.room) < digits.most:
                digits.keep_few(num_digits, address)
            if room is not None and room <= self._looks_again_at:
                self._end_in_time(self._json_ends.closing, address, room)
        if self._opening is not None:
            word = c_uint32.from_address(address + self._opening // 32 * 4)
            word.value |= 1 << self._opening % 32

    def _end_in_time(self, closing: Closing, address: int, room: int) -> None:
        """Leaves only the way to the end where there is just room for that, and for as much again
        as a whole answer takes: what is begun now has to be ended, too."""
        way = closing.way(self._matcher, self._numbers)
        if self._shortest is None:
            fresh = self._matcher.deep_copy()
            fresh.reset()
            self._shortest = len(closing.way(fresh, NumberReader()))
        needed = len(way) + self._shortest
        if room <= needed:
            size = self._mask_bytes // 4
            only(way[0], np.ctypeslib.as_array((c_uint32 * size).from_address(address)))
        self._looks_again_at = room - max(1, (room - needed) // _GROWTH)

    def _failure(self) -> ConstraintFailedError:
        return ConstraintFailedError(self._matcher.get_error().split("\n", 1)[0])
