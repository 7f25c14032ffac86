"""A constraint on the text of an answer, as a request carries it.

Knows kinds and texts; what they mean is the affair of ``text/grammar``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unisono.core.errors import InvalidRequestError
from unisono.core.sampling_limits import LIMITS, MAX_CHOICES, MAX_CONSTRAINT_LENGTH, TOKEN_ID

ConstraintKind = Literal[
    "schema", "regex", "grammar", "choice", "structural_tag", "tool_calls", "anything"
]


@dataclass(frozen=True, slots=True)
class ReasoningBudget:
    """A bound on the tokens of an answer's reasoning.

    Raises:
        InvalidRequestError: no number of tokens.
    """

    num_tokens: int
    closing_token_id: int
    """The token that ends reasoning, and is forced where the budget is spent."""
    opening_token_id: int | None = None
    """The token that begins it."""
    is_open: bool = False
    """The prompt has begun it."""

    def __post_init__(self) -> None:
        LIMITS["thinking_token_budget"].check("thinking_token_budget", self.num_tokens)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A language that the answer is a text of.

    Its state at any point is a function of the answer's token ids, so whoever knows these can go
    on with it.

    Raises:
        InvalidRequestError: an empty text, one that is too long, or no token id.
    """

    kind: ConstraintKind
    text: str
    """A JSON Schema or a list of choices as JSON text; a regular expression; a grammar in Lark's
    or GBNF's notation; a structural tag, or tool calls, as JSON text; for ``anything`` no more
    than a word."""
    after_token_id: int | None = None
    """Nothing is constrained before the answer has this token, such as the one that ends its
    reasoning."""
    opening_token_id: int | None = None
    """With ``after_token_id``: only an answer that begins with this token is free up to the other;
    any other is constrained from its first token on."""
    budget: ReasoningBudget | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not 0 < len(self.text) <= MAX_CONSTRAINT_LENGTH:
            message = f"{self.kind} is a text of 1 to {MAX_CONSTRAINT_LENGTH} characters."
            raise InvalidRequestError(message, param=self.kind)
        for name in ("after_token_id", "opening_token_id"):
            if (token_id := getattr(self, name)) is not None:
                TOKEN_ID.check(name, token_id)

    @property
    def says_end(self) -> bool:
        """True where it says where the answer ends."""
        return self.kind != "anything"

    @classmethod
    def of(cls, kind: ConstraintKind, value: Any) -> Constraint:
        """A constraint given as text, or as JSON data where its text is JSON.

        Raises:
            InvalidRequestError: neither.
        """
        if kind == "choice":
            _check_choices(value)
            value = list(value)
        if isinstance(value, str) or kind in ("regex", "grammar"):
            return cls(kind, value)
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequestError(f"{kind} is no JSON data.", param=kind) from error
        return cls(kind, text)


def _check_choices(value: Any) -> None:
    is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if not is_list or not all(isinstance(text, str) and text for text in value):
        raise InvalidRequestError("choice is a list of texts that are not empty.", param="choice")
    if not 1 <= len(value) <= MAX_CHOICES:
        raise InvalidRequestError(f"choice takes 1 to {MAX_CHOICES} texts.", param="choice")
