"""A tiktoken vocabulary as a native tokenizer: the same tokens, made by the package `tokenizers`.

The file has a line for each token: its bytes in base64, and its rank, which is its id. Byte pairs
merge in the order of the rank of what they make. Knows no family of models.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from unisono.text.vocabulary.byte_pairs import LETTER_OF_BYTE, merges_by_rank
from unisono.text.vocabulary.native import byte_level

_MAX_TOKENS = 1 << 21


class RanksError(ValueError):
    """Not the lines of a tiktoken vocabulary, or not a complete one."""


def read_ranks(content: bytes, *, counted: bool = False) -> dict[bytes, int]:
    """Ranks by token. ``counted``: by place in the file, not counting repeated tokens.

    Raises:
        RanksError: a line is something else, a rank is given twice, or a byte is missing.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line:
            continue
        token, rank = _read_line(line, number)
        if counted:
            ranks.setdefault(token, len(ranks))
        elif ranks.setdefault(token, rank) != rank:
            raise RanksError(f"line {number} repeats a token")
    check_ranks(ranks)
    return ranks


def check_ranks(ranks: Mapping[bytes, int]) -> None:
    """Raises:
    RanksError: a rank is given twice, or a byte has no token.
    """
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise RanksError(f"it has no token for the byte {missing[0]}")
    if len(set(ranks.values())) != len(ranks):
        raise RanksError("two tokens have one rank")


def build_backend(
    ranks: Mapping[bytes, int],
    *,
    pattern: str,
    composes: bool = False,
    special_in_front: Sequence[str] = (),
) -> Backend:
    """The tokenizer of these ranks.

    Args:
        pattern: a regular expression, whose matches are merged on their own.
        composes: bring a text to Unicode's form NFC first.
        special_in_front: special tokens that have the first ids; ranks count from behind them.
    """
    first = len(special_in_front)
    words = {token: "".join(LETTER_OF_BYTE[byte] for byte in token) for token in ranks}
    vocab = {words[token]: first + rank for token, rank in ranks.items()}
    backend = byte_level(
        vocab | {text: index for index, text in enumerate(special_in_front)},
        [(words[left], words[right]) for left, right in merges_by_rank(ranks)],
        [pattern],
        composes=composes,
        ignore_merges=True,
    )
    add_special(backend, special_in_front)
    return backend


def add_special(backend: Backend, texts: Sequence[str]) -> None:
    """Special tokens: those the vocabulary has, and others behind it."""
    backend.add_tokens([AddedToken(text, special=True, normalized=False) for text in texts])


def _read_line(line: bytes, number: int) -> tuple[bytes, int]:
    try:
        word, rank = line.split()
        token, value = base64.b64decode(word, validate=True), int(rank)
    except (ValueError, binascii.Error) as error:
        raise RanksError(f"line {number} is not a token and its rank") from error
    if not token or not 0 <= value < _MAX_TOKENS:
        raise RanksError(f"line {number} has an empty token or an impossible rank")
    return token, value
