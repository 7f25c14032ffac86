"""Constraints compiled for one vocabulary, each once for all requests that have it.

Safe to use from several threads; llguidance computes without holding Python's lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import replace
from threading import Lock
from typing import NamedTuple

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.closing import Closing
from unisono.text.grammar.grammar_text import grammar_text
from unisono.text.grammar.matcher import JsonEnds, Matcher
from unisono.text.grammar.numbers import DigitMasks
from unisono.text.grammar.refusals import refusal
from unisono.text.grammar.thought import Thought
from unisono.text.grammar.vocabulary import Vocabulary

_MAX_KEPT = 64
_LIMITS = LLParserLimits(
    max_items_in_row=50_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=50_000,
    verbose_errors=False,
)


class GrammarCompiler:
    """Args:
    vocabulary: gives the model's, when it is first needed.
    size: of a row of the model's logits.
    eos_token_ids: tokens that end an answer.
    """

    def __init__(
        self, vocabulary: Callable[[], Vocabulary], size: int, eos_token_ids: Collection[int]
    ) -> None:
        self._vocabulary = vocabulary
        self._size = size
        self._eos_token_ids = sorted(eos_token_ids)
        self._model: _Model | None = None
        self._kept: OrderedDict[Constraint, LLMatcher] = OrderedDict()
        self._lock = Lock()

    def matcher(self, constraint: Constraint) -> Matcher:
        """A matcher at the beginning of an answer.

        Raises:
            InvalidRequestError: the constraint cannot be enforced, or takes too much.
        """
        language = replace(constraint, after_token_id=None, opening_token_id=None, budget=None)
        budget, tokens = constraint.budget, self._loaded().json_ends.digits.tokens
        thought = Thought(budget, tokens) if budget else None
        mask_bytes = 4 * -(-self._size // 32)
        if constraint.kind == "anything":
            return Matcher(None, mask_bytes, thought=thought)
        with self._lock:
            compiled = self._kept.get(language)
            if compiled is not None:
                self._kept.move_to_end(language)
        if compiled is None:
            compiled = self._compile(language)
            with self._lock:
                self._kept[language] = compiled
                if len(self._kept) > _MAX_KEPT:
                    self._kept.popitem(last=False)
        return Matcher(
            compiled.deep_copy(),
            mask_bytes,
            self._loaded().json_ends if constraint.kind == "schema" else None,
            after_token_id=constraint.after_token_id,
            opening_token_id=constraint.opening_token_id,
            thought=thought,
        )

    def _compile(self, constraint: Constraint) -> LLMatcher:
        text = grammar_text(constraint, self._eos_token_ids, self._loaded().special)
        compiled = LLMatcher(self._loaded().tokenizer, text, log_level=0, limits=_LIMITS)
        trial = compiled.deep_copy()
        if not trial.is_error():
            trial.compute_bitmask()  # says whether any answer can begin
        if trial.is_error():
            raise refusal(constraint.kind, trial.get_error())
        return compiled

    def _loaded(self) -> _Model:
        with self._lock:
            if self._model is None:
                vocabulary = self._vocabulary().sized(self._size)
                tokenizer = _tokenizer(vocabulary, self._eos_token_ids)
                closing = Closing(vocabulary.tokens, self._eos_token_ids)
                ends = JsonEnds(DigitMasks(vocabulary.tokens), closing)
                self._model = _Model(tokenizer, ends, vocabulary.special_names)
            return self._model


class _Model(NamedTuple):
    """A vocabulary, prepared."""

    tokenizer: LLTokenizer
    json_ends: JsonEnds
    special: dict[str, int]


class _Tokens:
    """The vocabulary as ``TokenizerWrapper`` asks for it. llguidance tokenizes only to force
    tokens, which is not done here."""

    def __init__(self, vocabulary: Vocabulary, eos_token_id: int) -> None:
        self.eos_token_id = eos_token_id
        self.bos_token_id = None
        self.tokens = vocabulary.tokens
        self.special_token_ids = vocabulary.special_ids

    def __call__(self, text: bytes | str) -> list[int]:
        return []


def _tokenizer(vocabulary: Vocabulary, eos_token_ids: list[int]) -> LLTokenizer:
    if not eos_token_ids:
        raise InvalidRequestError(
            "This model has no end-of-sequence token, so no answer by a constraint could end."
        )
    tokens = _Tokens(vocabulary, eos_token_ids[0])
    return LLTokenizer(
        TokenizerWrapper(tokens), eos_token=eos_token_ids, slices=LLTokenizer.json_slices()
    )
