"""The marks by which a model says where reasoning and calls begin and end.

A mark that is one token of the vocabulary is that token and nothing else: the same letters, spelled
by other tokens, are text. In the text of an answer such a token is one character of the surrogate
range, which no decoded text holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from unisono.text.tokenizer import Tokenizer

_FIRST = 0xD800
_TOKEN = re.compile("[\ud800-\udfff]")


class Marks:
    """Marks of one model.

    Args:
        marks: texts, as a format names them.
    """

    def __init__(self, tokenizer: Tokenizer, marks: Iterable[str]) -> None:
        self._written: dict[str, str] = {}
        self._spelled: dict[int, str] = {}
        self.by_token: dict[int, str] = {}
        """Token id -> its character in the text of an answer."""
        for mark in sorted(set(marks)) if tokenizer.spelling.streamed else ():
            token_id = tokenizer.token_id(mark)
            if token_id is not None:
                letter = chr(_FIRST + len(self.by_token))
                self.by_token[token_id] = self._written[mark] = letter
                self._spelled[ord(letter)] = "" if tokenizer.is_special(token_id) else mark

    def written(self, mark: str) -> str:
        """A mark as it stands in the text of an answer: one character, or its own letters."""
        return self._written.get(mark, mark)

    def is_token(self, mark: str) -> bool:
        return mark in self._written

    def spell(self, text: str) -> str:
        """The text for people: a mark that marks nothing there is its letters, and nothing where
        it is a special token."""
        return text.translate(self._spelled) if _TOKEN.search(text) else text
