"""Reasoning under a budget: its end is forced, at a clean place, whatever comes behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from unisono.core.constraint import Constraint, ReasoningBudget
from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.matcher import Matcher
from unisono.text.grammar.vocabulary import Vocabulary

OPENS, CLOSES, END = 256, 257, 258
TOKENS = (*(bytes([byte]) for byte in range(256)), b"<think>", b"</think>", b"<end>")
COMPILER = GrammarCompiler(lambda: Vocabulary(TOKENS, (OPENS, CLOSES, END)), 259, [END])
ANYTHING = Constraint("anything", "anything")


def begun(num_tokens: int, *, is_open: bool = True, constraint: Constraint = ANYTHING) -> Matcher:
    budget = ReasoningBudget(num_tokens, CLOSES, OPENS, is_open=is_open)
    return COMPILER.matcher(replace(constraint, budget=budget))


def allowed(matcher: Matcher) -> list[int]:
    words = np.zeros(9, np.uint32)
    matcher.fill(words.ctypes.data)
    return np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")).tolist()


def num_taken(matcher: Matcher, token_ids: Sequence[int]) -> int:
    """Tokens that come before the end is forced."""
    for count, token_id in enumerate(token_ids):
        if not matcher.is_free:
            assert allowed(matcher) == [CLOSES]
            return count
        matcher.advance([token_id])
    raise AssertionError("it never ends")


@pytest.mark.parametrize(
    ("budget", "text", "count"),
    [
        (0, "abc", 0),
        (3, "abcdef", 3),
        (40, "a" * 33 + "\n" + "b" * 10, 34),
        (40, "a" * 20 + "\n" + "b" * 30, 40),
        (40, "a" * 36 + ". " + "b" * 30, 37),
        (40, "a" * 31 + ". " + "b" * 30, 40),
    ],
)
def test_reasoning_ends(budget: int, text: str, count: int) -> None:
    matcher = begun(budget)
    assert num_taken(matcher, list(text.encode())) == count
    other = begun(budget)
    other.advance(list(text.encode()[:count]))  # all at once, as where an answer is resumed
    assert allowed(other) == [CLOSES]
    assert not other.may_end
    other.advance([CLOSES, *b"so"])
    assert other.is_free


def test_reasoning_that_the_answer_begins() -> None:
    matcher = begun(2, is_open=False)
    matcher.advance(list(b"hello"))
    assert matcher.is_free
    matcher.advance([OPENS, *b"a"])
    assert matcher.is_free
    draft = matcher.copy()
    draft.advance(list(b"b"))
    assert allowed(draft) == [CLOSES]
    assert matcher.is_free
    draft.advance([CLOSES])
    assert draft.is_free
    draft.advance([OPENS])
    assert allowed(draft) == [CLOSES]  # the budget is one for all of an answer's reasoning


def test_a_constraint_begins_behind_it() -> None:
    language = Constraint.of("schema", {"enum": ["x", "y"]})
    behind = replace(language, after_token_id=CLOSES)
    matcher = begun(3, constraint=behind)
    assert num_taken(matcher, list(b"hmmm")) == 3
    matcher.advance([CLOSES])
    assert allowed(matcher) == [ord('"')]
    opening = replace(behind, opening_token_id=OPENS)
    matcher = begun(1, is_open=False, constraint=opening)
    assert allowed(matcher) == [ord('"'), OPENS]
    matcher.advance([OPENS, *b"h"])
    assert allowed(matcher) == [CLOSES]


def test_what_is_no_budget() -> None:
    for wrong in (-1, 1.5, "3"):
        with pytest.raises(InvalidRequestError, match="thinking_token_budget"):
            ReasoningBudget(wrong, CLOSES)  # type: ignore[arg-type]
