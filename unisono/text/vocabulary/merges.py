"""The merges of a BPE vocabulary that lists tokens and ranks alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["merges_by_rank"]

_MAX_TOKEN = 1024
_MAX_TOTAL = 1 << 24
Token = TypeVar("Token", str, bytes)


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
