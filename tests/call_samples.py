"""Answers by a constraint, each step any of the tokens that it allows, in a vocabulary of bytes and
of a format's marks."""

from __future__ import annotations

from random import Random

import numpy as np

from unisono.core.constraint import Constraint
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.matcher import ConstraintFailedError
from unisono.text.grammar.vocabulary import Vocabulary
from unisono.text.parsers.marks import Marks

_MOST_TOKENS = 400
_TELLING = b'"}]<\n{[(),>'


class Samples:
    def __init__(self, marks: Marks) -> None:
        letters = marks.letters
        self._marks = marks
        self._first = max(letters, default=-1) + 1
        names = [letters.get(i, "").encode() for i in range(self._first)]
        self._tokens = (*names, *(bytes([byte]) for byte in range(256)), b"<end>")
        self._end = len(self._tokens) - 1
        self._words = np.zeros(-(-len(self._tokens) // 32), np.uint32)
        self._compiler = GrammarCompiler(
            lambda: Vocabulary(self._tokens, (self._end,)), len(self._tokens), [self._end]
        )

    def one(self, constraint: Constraint, seed: int) -> str | None:
        """An answer as a parser gets it; None where it would be long."""
        matcher, choice, ids = self._compiler.matcher(constraint), Random(seed), list[int]()
        while len(ids) < _MOST_TOKENS:
            matcher.fill(self._words.ctypes.data)
            bits = np.unpackbits(self._words.view(np.uint8), bitorder="little")
            allowed = np.flatnonzero(bits[: len(self._tokens)]).tolist()
            if self._end in allowed and (len(allowed) == 1 or choice.random() < 0.3):
                return self._text(ids)
            others = [token_id for token_id in allowed if token_id != self._end]
            weights = [30 if self._is_telling(token_id) else 1 for token_id in others]
            ids += choice.choices(others, weights)
            matcher.advance(ids[-1:])
        return None

    def takes(self, constraint: Constraint, text: str) -> bool:
        """True where the constraint allows a text, marks as characters, and its end there."""
        matcher = self._compiler.matcher(constraint)
        try:
            matcher.advance(self._ids(text))
        except ConstraintFailedError:
            return False
        return matcher.may_end

    def _is_telling(self, token_id: int) -> bool:
        return token_id < self._first or token_id - self._first in _TELLING

    def _text(self, ids: list[int]) -> str:
        text, spelled = "", b""
        for token_id in ids:
            if token_id < self._first:
                text += spelled.decode("utf-8", "replace") + self._marks.by_token[token_id]
                spelled = b""
            else:
                spelled += self._tokens[token_id]
        return text + spelled.decode("utf-8", "replace")

    def _ids(self, text: str) -> list[int]:
        ids = {letter: token_id for token_id, letter in self._marks.by_token.items()}
        found: list[int] = []
        for letter in text:
            if letter in ids:
                found.append(ids[letter])
            else:
                found += [self._first + byte for byte in letter.encode()]
        return found
