"""A short way from any point of a JSON text to its end, for answers whose tokens run out.

At each point the token is taken that closes most: what ends the answer, a quotation mark, a
bracket, a comma; and only then one that opens something. In a text whose pattern forbids its end,
letters take turns, until it allows that. Whatever it takes, the mask allows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy

import numpy as np
from llguidance import LLMatcher

from unisono.text.grammar.numbers import NumberReader

MOST_TOKENS = 512
"""Tokens of a way that is looked for."""
_ORDER = (b"}", b"]", b",", b":", b'"', b"0", b"1", b"null", b"n", b"true", b"t", b"false", b"f")
_LAST = (b"-", b"[", b"{")
Words = np.ndarray[tuple[int], np.dtype[np.uint32]]


class Closing:
    """Args:
    tokens: of the vocabulary, by id.
    ends: tokens that end an answer.
    """

    def __init__(self, tokens: Sequence[bytes], ends: Collection[int]) -> None:
        ids: dict[bytes, int] = {}
        for token_id, token in enumerate(tokens):
            ids.setdefault(token, token_id)
        self._tokens = tokens
        self._ends = list(ends)
        self._quote = ids.get(b'"')
        self._outside = [ids[text] for text in (*_ORDER, *_LAST) if text in ids]
        self._letters = [ids[text] for text in map(_byte, range(0x21, 0x7F)) if text in ids]
        """Letters that take turns: some parts the pieces of a pattern, or ends it, and the one that
        has not been taken for longest is the next to try."""
        self._num_words = -(-len(tokens) // 32)

    def way(self, matcher: LLMatcher, numbers: NumberReader) -> list[int]:
        """Tokens to the end, that included; so many at most. Neither argument is changed."""
        matcher, numbers = matcher.deep_copy(), copy(numbers)
        words: Words = np.zeros(self._num_words, np.uint32)
        way: list[int] = []
        while len(way) < MOST_TOKENS:
            matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
            token_id = self._next(words, numbers)
            way.append(token_id)
            if token_id in self._ends or not matcher.consume_token(token_id):
                break
            numbers.read(self._tokens[token_id])
        return way

    def _next(self, words: Words, numbers: NumberReader) -> int:
        wanted = [] if self._quote is None else [self._quote]
        for token_id in (*self._ends, *(wanted if numbers.in_string else self._outside)):
            if words[token_id // 32] >> (token_id % 32) & 1:
                return token_id
        if letters := [i for i in self._letters if words[i // 32] >> (i % 32) & 1]:
            return min(letters, key=lambda i: (numbers.last[self._tokens[i][0]], i))
        (filled,) = words.nonzero()
        first = int(filled[0]) if len(filled) else 0
        word = int(words[first])
        return 32 * first + (word & -word).bit_length() - 1 if word else self._ends[0]


def _byte(code: int) -> bytes:
    return bytes([code])


def only(token_id: int, words: Words) -> None:
    """Leaves one token in a mask."""
    words[:] = 0
    words[token_id // 32] = 1 << token_id % 32
