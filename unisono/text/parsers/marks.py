"""The marks by which a model says where reasoning and calls begin and end.

A mark that is one token of the vocabulary is that token and nothing else: the same letters, spelled
by other tokens, are text. In the text of an answer such a token is one character of the surrogate
range, which no decoded text holds. A mark may also be such tokens with letters around them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from unisono.text.tokenizer import Tokenizer

_FIRST = 0xD800
_TOKEN = re.compile("[\ud800-\udfff]")
_INSIDE = re.compile(r"<[^<>]+>")


class Marks:
    """Marks of one model.

    Args:
        marks: texts, as a format names them.
    """

    def __init__(self, tokenizer: Tokenizer, marks: Iterable[str]) -> None:
        self._written: dict[str, str] = {}
        self._spelled: dict[int, str] = {}
        self._spelled_in_json: dict[int, str] = {}
        self.by_token: dict[int, str] = {}
        """Token id -> its character in the text of an answer."""
        named = sorted(set(marks))
        for text in sorted({*named, *(part for mark in named for part in _INSIDE.findall(mark))}):
            token_id = tokenizer.token_id(text) if tokenizer.spelling.streamed else None
            if token_id is not None:
                self._add(text, token_id, is_special=tokenizer.is_special(token_id))
        self._longest_first = sorted(self._written, key=len, reverse=True)

    def _add(self, text: str, token_id: int, *, is_special: bool) -> None:
        letter = chr(_FIRST + len(self.by_token))
        self.by_token[token_id] = self._written[text] = letter
        self._spelled[ord(letter)] = "" if is_special else text
        self._spelled_in_json[ord(letter)] = "" if is_special else json.dumps(text)[1:-1]

    def written(self, mark: str) -> str:
        """A mark as it stands in the text of an answer: one character, its own letters, or both."""
        if mark not in self._written:
            written = mark
            for text in self._longest_first:
                written = written.replace(text, self._written[text])
            self._written[mark] = written
        return self._written[mark]

    def is_token(self, mark: str) -> bool:
        """True where no plain text can be taken for the mark."""
        return _TOKEN.search(self.written(mark)) is not None

    def pieces(self, text: str) -> list[str | int]:
        """A text cut at its marks that are tokens, which are token ids."""
        ids = {letter: token_id for token_id, letter in self.by_token.items()}
        cut = re.split("([\ud800-\udfff])", self.written(text))
        return [ids.get(piece, piece) for piece in cut if piece]

    @property
    def letters(self) -> dict[int, str]:
        """The letters of each mark that is a token, by its id."""
        named = {self._written[text]: text for text in self._longest_first}
        return {token_id: named[letter] for token_id, letter in self.by_token.items()}

    def spell(self, text: str) -> str:
        """The text for people: a mark that marks nothing there is its letters, and nothing where
        it is a special token."""
        return text.translate(self._spelled) if _TOKEN.search(text) else text

    def spell_in_json(self, text: str) -> str:
        """The text for people (:meth:`spell`), as part of a JSON string."""
        return text.translate(self._spelled_in_json) if _TOKEN.search(text) else text
