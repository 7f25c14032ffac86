"""A lower bound of the tokens of a text, from counts that cost no tokenizing.

No token spells more than so many letters, digits, blanks, signs and other bytes, or parts of so
many words. A text that holds ``n`` times as many of one of these has at least ``n`` tokens: a
bound from below that holds for every text. Where a tokenizer drops or replaces characters in a way
that is not followed here, there is no bound. Knows nothing of limits.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import models

from unisono.text.vocabulary.byte_pairs import BYTE_OF_LETTER

Step = Sequence[str]
"""``NFC`` and its kind, ``lower``, or ``replace`` with what and by what."""
_SLICE_CHARS = 1 << 18
_MAX_STEPS = 16
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS = b"0123456789"
_BLANKS = b" \t\n\r\x0b\x0c"
_LETTER, _DIGIT, _BLANK, _SIGN, _OTHER = b"a0 .\xff"
_MEMBERS = ((_LETTER, _LETTERS), (_DIGIT, _DIGITS), (_BLANK, _BLANKS))
_CLASS_OF_BYTE = bytes(
    next((kind for kind, members in _MEMBERS if byte in members), _SIGN if byte < 0x80 else _OTHER)
    for byte in range(256)
)
_IS_LETTER = bytes(_LETTER if byte in _LETTERS else _BLANK for byte in range(256))
_BYTE_OF_ORD = {ord(letter): chr(byte) for letter, byte in BYTE_OF_LETTER.items()}
_BLANK_PATTERNS = frozenset({" ", r"\s+", r"\s", " {2,}", " +", r"^\s+", r"\s+$", "[ ▁]+$"})
"""Patterns of white space alone: what they match separates words and is part of none."""
_WORD_CHARS = (_LETTERS + _DIGITS).decode()


class _NotFollowed(Exception):
    """The tokenizer changes a text in a way that is not followed here."""


@dataclass(frozen=True, slots=True)
class TokenBound:
    """Args:
    most: how much of each count one token can hold; counts that are missing say nothing.
    steps: what becomes of a text before it is cut into tokens, one after the other.
    drops_blanks: whether white space may leave no trace.
    margin: by how much a count may be off at the end of a slice.
    """

    most: Mapping[str, int] = field(default_factory=dict)
    steps: Sequence[Step] = ()
    drops_blanks: bool = False
    margin: int = 0

    def is_exceeded(self, text: str, num_tokens: int) -> bool:
        """Returns whether ``text`` certainly has more than ``num_tokens`` tokens.

        Looks at no more of it than that takes: 30 ms for 8 MB.
        """
        if not self.most or len(text) * 4 <= num_tokens:
            return False
        found = dict.fromkeys(self.most, 0)
        for start in range(0, len(text), _SLICE_CHARS):
            counts = _count(self._prepare(text[start : start + _SLICE_CHARS]))
            for name, most in self.most.items():
                found[name] += max(0, counts[name] - self.margin)
                if found[name] > num_tokens * most:
                    return True
        return False

    def _prepare(self, text: str) -> bytes:
        for step in self.steps:
            text = _apply(step, text)
        if self.drops_blanks:
            text = " ".join(text.split())
        return text.encode("utf-8", "replace")


def _apply(step: Step, text: str) -> str:
    kind = step[0]
    if kind == "replace":
        return text.replace(step[1], step[2])
    return text.lower() if kind == "lower" else unicodedata.normalize(kind, text)  # type: ignore[arg-type]


def read_token_bound(backend: Backend) -> TokenBound:
    """The bound of a tokenizer; one that never holds where nothing is certain."""
    try:
        return _read(backend)
    except _NotFollowed:
        return TokenBound()


def _read(backend: Backend) -> TokenBound:
    reading = _Reading()
    for part, read in (
        (backend.normalizer, reading.normalizer),
        (backend.pre_tokenizer, reading.pre_tokenizer),
    ):
        if part is not None:
            read(json.loads(part.__getstate__()))
    if len(reading.steps) > _MAX_STEPS:
        raise _NotFollowed
    added = backend.get_added_tokens_decoder().values()
    drops_blanks = reading.drops_blanks or any(token.lstrip or token.rstrip for token in added)
    vocab = backend.get_vocab(with_added_tokens=False)
    counts = _counted(backend.model, vocab, reading)
    contents = [token.content for token in added]
    prepared = TokenBound(steps=tuple(reading.steps))
    spelt = {_spell(token, reading.byte_level) for token in vocab}
    spelt |= {text.encode("utf-8", "replace") for text in contents}
    spelt |= {prepared._prepare(text) for text in contents}
    most = _most(spelt)
    names = [name for name in counts if name != "blanks" or not drops_blanks]
    return TokenBound(
        {name: most[name] for name in names if most[name]},
        tuple(reading.steps),
        drops_blanks,
        reading.margin,
    )


class _Reading:
    """Follows the steps of a tokenizer, as ``tokenizer.json`` describes them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.drops_blanks = False
        self.ascii_alone = False
        """Other characters may be dropped."""
        self.byte_level = False
        self.margin = 32
        """Bytes of a character and what composes with it, which a slice may part."""

    def normalizer(self, part: Mapping[str, Any]) -> None:
        kind = part["type"]
        if kind == "Sequence":
            for inner in part["normalizers"]:
                self.normalizer(inner)
        elif kind in ("NFC", "NFD", "NFKC", "NFKD"):
            self.steps.append((kind,))
        elif kind == "Lowercase":
            self.steps.append(("lower",))
        elif kind == "Replace":
            self._replace(part["pattern"], part["content"])
        elif kind == "ByteLevel":
            self.byte_level = True
        elif kind == "Strip":
            self.drops_blanks = True
        elif kind == "StripAccents":
            self.ascii_alone = True
        elif kind != "Prepend":
            raise _NotFollowed

    def pre_tokenizer(self, part: Mapping[str, Any]) -> None:
        kind = part["type"]
        if kind == "Sequence":
            for inner in part["pretokenizers"]:
                self.pre_tokenizer(inner)
        elif kind == "ByteLevel":
            self.byte_level = True
        elif kind == "Metaspace":
            self._replace({"String": " "}, part["replacement"])
        elif kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer"):
            self.drops_blanks = True
        elif kind == "CharDelimiterSplit":
            self._drop(part["delimiter"])
        elif kind in ("Split", "Punctuation") and part["behavior"] == "Removed":
            self._drop(next(iter(part.get("pattern", {"": "?"}).values())))
        elif kind not in ("Split", "Punctuation", "Digits", "UnicodeScripts", "FixedLength"):
            raise _NotFollowed

    def _replace(self, pattern: Mapping[str, str], content: str) -> None:
        text = pattern.get("String")
        if text is None and pattern.get("Regex") in _BLANK_PATTERNS and not _has_word(content):
            self.drops_blanks = True
        elif text and len(content) <= len(text):
            self.margin += len(text)
            self.steps.append(("replace", text, content))
        else:
            raise _NotFollowed

    def _drop(self, pattern: str) -> None:
        if pattern not in _BLANK_PATTERNS:
            raise _NotFollowed
        self.drops_blanks = True


def _has_word(text: str) -> bool:
    return any(char in _WORD_CHARS for char in text)


def _counted(model: Any, vocab: Mapping[str, int], reading: _Reading) -> list[str]:
    """The counts of which no part can be dropped: every character of theirs is a token, so none
    becomes an unknown one."""
    if isinstance(model, models.BPE):
        if model.continuing_subword_prefix or model.end_of_word_suffix:
            raise _NotFollowed
        has_fallback = model.byte_fallback
    elif isinstance(model, models.Unigram):
        has_fallback = b'"byte_fallback":true' in model.__getstate__()[-64:]
    else:
        raise _NotFollowed
    has_bytes = all(f"<0x{byte:02X}>" in vocab for byte in range(256))
    if reading.byte_level:
        is_whole = all(letter in vocab for letter in BYTE_OF_LETTER)
    else:
        is_whole = has_fallback and has_bytes
    if not is_whole and not all(char in vocab for char in _WORD_CHARS):
        raise _NotFollowed
    if is_whole and not reading.ascii_alone:
        return ["letters", "digits", "blanks", "signs", "others", "words"]
    return ["letters", "digits", "words"]


def _spell(token: str, byte_level: bool) -> bytes:
    if byte_level:
        try:
            return token.translate(_BYTE_OF_ORD).encode("latin-1")
        except UnicodeEncodeError:
            pass
    return token.encode("utf-8", "replace")


def _most(tokens: Iterable[bytes]) -> dict[str, int]:
    """The most of each count in a token; of tokens alike one is looked at."""
    alike = {token.translate(_CLASS_OF_BYTE) for token in tokens}
    counts = [_count(token) for token in alike]
    return {name: max(one[name] for one in counts) for name in counts[0]} if counts else {}


def _count(text: bytes) -> dict[str, int]:
    classes = text.translate(_CLASS_OF_BYTE)
    return {
        "letters": classes.count(_LETTER),
        "digits": classes.count(_DIGIT),
        "blanks": classes.count(_BLANK),
        "signs": classes.count(_SIGN),
        "others": classes.count(_OTHER),
        "words": (b" " + classes).translate(_IS_LETTER).count(b" a"),
    }
