"""The state of one answer under a constraint, and the tokens that may come next."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_uint32

from llguidance import LLMatcher

from unisono.text.grammar.numbers import DigitMasks, NumberReader


class ConstraintFailedError(Exception):
    """An answer left its constraint, or the next token takes too long to find."""


class Matcher:
    """Goes along with the answer: ``advance`` by its tokens, then ``fill`` a mask.

    Args:
        digits: given for JSON, whose numbers are to end.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        mask_bytes: int,
        digits: DigitMasks | None = None,
        *,
        after_token_id: int | None = None,
        opening_token_id: int | None = None,
    ) -> None:
        self._matcher = matcher
        self._mask_bytes = mask_bytes
        self._digits = digits
        self._numbers = NumberReader()
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
        if self._digits is not None:
            for token_id in rest:
                self._numbers.read(self._digits.tokens[token_id])

    @property
    def may_end(self) -> bool:
        """True where the answer is whole."""
        return self._matcher.is_accepting()

    def fill(self, address: int) -> None:
        """Write the mask of the next token: bit i of little-endian words is token i.

        Raises:
            ConstraintFailedError: it takes more than a mask may.
        """
        self._matcher.unsafe_compute_mask_ptr(address, self._mask_bytes)
        if self._matcher.is_error():
            raise self._failure()
        if self._digits is not None and (room := self._numbers.room) < self._digits.most:
            self._digits.keep_few(room, address)
        if self._opening is not None:
            word = c_uint32.from_address(address + self._opening // 32 * 4)
            word.value |= 1 << self._opening % 32

    def _failure(self) -> ConstraintFailedError:
        return ConstraintFailedError(self._matcher.get_error().split("\n", 1)[0])
