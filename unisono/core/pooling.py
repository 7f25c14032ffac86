"""The numbers that a text becomes where no answer is wanted: a vector, or scores."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from typing import Literal

from unisono.core.errors import InvalidRequestError

PoolingKind = Literal["last", "mean", "tokens", "classes"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooling:
    """The reading of a prompt's hidden states, once all of it has been computed.

    Args:
        kind: ``last``: the hidden state of the last token. ``mean``: the mean of all. ``tokens``:
            the logits of ``token_ids`` behind the last token. ``classes``: what the model's
            classifying head says of the last token.
        normalize: give a vector the length 1.
        dimensions: numbers of a vector that are kept, its first; None: all.
        token_ids: of ``tokens``.

    Raises:
        InvalidRequestError: ``dimensions`` below 1, or ``tokens`` that are not named.
    """

    kind: PoolingKind = "last"
    normalize: bool = False
    dimensions: int | None = None
    token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.dimensions is not None and self.dimensions < 1:
            raise InvalidRequestError("dimensions must be at least 1.", param="dimensions")
        if (self.kind == "tokens") != bool(self.token_ids):
            raise InvalidRequestError("token_ids are those of the kind 'tokens'.")

    @property
    def reads_all(self) -> bool:
        """True where every token's hidden state is needed, also of what the prefix cache has."""
        return self.kind == "mean"

    @property
    def needs_logits(self) -> bool:
        return self.kind == "tokens"


def read_numbers(pooled: bytes) -> array[float]:
    """The numbers of ``RequestOutput.pooled``."""
    numbers = array("f", pooled)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
