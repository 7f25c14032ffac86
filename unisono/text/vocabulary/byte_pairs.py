"""Byte pairs: the letters that bytes are written with, and the merges of a vocabulary that lists
tokens and ranks alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

_MAX_TOKEN = 1024
_MAX_TOTAL = 1 << 24
Token = TypeVar("Token", str, bytes)


def _byte_alphabet() -> dict[str, int]:
    """The letters that byte-level BPE writes bytes with (Radford et al. 2019, GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + index): byte for index, byte in enumerate(others)}


BYTE_OF_LETTER = _byte_alphabet()
LETTER_OF_BYTE = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}


def merges_by_rank(ranks: Mapping[Token, Any]) -> list[tuple[Token, Token]]:
    """Every pair of tokens that makes a token, in the order of the ranks of what they make, as
    SentencePiece and tiktoken merge. ``ranks`` are numbers, or anything else with an order.

    Pairs that make one token stand together, but in an order of their own, where those libraries
    take the one that comes first in the text.

    Raises:
        ValueError: tokens so long that no model has them; the work grows with the square.
    """
    if max(map(len, ranks), default=0) > _MAX_TOKEN or sum(map(len, ranks)) > _MAX_TOTAL:
        raise ValueError(f"a token has more than {_MAX_TOKEN} letters, or all have too many")
    merges = []
    for token in sorted(ranks, key=lambda token: ranks[token]):
        cuts = ((token[:at], token[at:]) for at in range(1, len(token)))
        found = [pair for pair in cuts if pair[0] in ranks and pair[1] in ranks]
        merges += sorted(found, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges
