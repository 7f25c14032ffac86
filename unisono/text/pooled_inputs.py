"""Texts to the token ids that a model embeds or scores, and its numbers to scores.

Knows a model's role and its tokenizer; nothing of engines or requests.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from unisono.core.errors import ContextLengthError, InvalidRequestError, UnsupportedModelError
from unisono.core.model_role import ModelRole
from unisono.core.pooling import Pooling
from unisono.text.tokenizer import Tokenizer

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""The default of Qwen3-Reranker's model card, from which the parts of its prompt are, too."""
_QWEN3_FRONT = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
_QWEN3_BACK = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_MOST_CUT = 8
"""Contexts of text that are tokenized where a text may be cut."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A text of more than ``most`` tokens loses those at one side."""

    most: int
    side: Literal["left", "right"] = "right"

    def of(self, token_ids: list[int], most: int) -> list[int]:
        return token_ids[:most] if self.side == "right" else token_ids[len(token_ids) - most :]


class PooledInputs:
    """Args:
        context: tells the most tokens that the engine takes.

    Raises:
        UnsupportedModelError: the model is to rerank, and its vocabulary lacks what that needs.
    """

    def __init__(self, tokenizer: Tokenizer, role: ModelRole, context: Callable[[], int]) -> None:
        self.role = role
        self._context = context
        self._tokenizer = tokenizer
        if role.task == "rerank" and role.pair_form == "qwen3":
            self._scored_ids = self._find_scored_ids()
            self._front = tokenizer.encode(_QWEN3_FRONT, add_special_tokens=False)
            self._back = tokenizer.encode(_QWEN3_BACK, add_special_tokens=False)

    # -- token ids --------------------------------------------------------------------------

    def text(self, text: str, *, prompt: str = "", cut: Cut | None = None) -> list[int]:
        """Token ids of a text to be embedded.

        Args:
            prompt: goes before it.

        Raises:
            InvalidRequestError: an empty text.
            ContextLengthError: it is too long, and not to be cut.
        """
        if not text:
            raise InvalidRequestError("A text is empty.", param="input")
        text = prompt + text
        self._check_length(text, cut)
        token_ids = self._tokenizer.encode(text)
        if not token_ids:
            raise InvalidRequestError("A text has no tokens.", param="input")
        most = self._most(cut)
        if len(token_ids) <= most:
            return token_ids
        if cut is None:
            raise self._too_long(len(token_ids))
        bare = self._tokenizer.encode(text, add_special_tokens=False)
        return _cut_inside(token_ids, bare, cut, most)

    def token_ids(self, token_ids: Sequence[int], cut: Cut | None = None) -> list[int]:
        """A text that a client has tokenized; errors as of :meth:`text`."""
        if not token_ids:
            raise InvalidRequestError("A list of token ids is empty.", param="input")
        most = self._most(cut)
        if len(token_ids) <= most:
            return list(token_ids)
        if cut is None:
            raise self._too_long(len(token_ids))
        return cut.of(list(token_ids), most)

    def pair(
        self, query: str, document: str, *, instruction: str | None = None, cut: Cut | None = None
    ) -> list[int]:
        """Token ids of a query and a document to be scored together. Marks of special tokens in
        either are text. Errors as of :meth:`text`.

        Args:
            cut: what is lost is the document's.
        """
        if not query or not document:
            raise InvalidRequestError("A query or a document is empty.", param="documents")
        self._check_length(query + document, cut)
        if self.role.pair_form == "plain":
            if instruction is not None:
                raise InvalidRequestError("This model takes no instruction.", param="instruction")
            whole = self._tokenizer.encode_literally(query, document)
            bare = self._tokenizer.encode_literally(document)
            return self._fitting(whole, bare, cut)
        asked = f"<Instruct>: {instruction or INSTRUCTION}\n<Query>: {query}\n<Document>: "
        inner = self._tokenizer.encode_literally(asked + document)
        num_asked = len(self._tokenizer.encode_literally(asked))
        return self._fitting([*self._front, *inner, *self._back], inner[num_asked:], cut)

    def _fitting(self, whole: list[int], document: list[int], cut: Cut | None) -> list[int]:
        most = self._most(cut)
        if len(whole) <= most:
            return whole
        if cut is None:
            raise self._too_long(len(whole))
        return _cut_inside(whole, document, cut, most)

    # -- numbers ----------------------------------------------------------------------------

    def vector_pooling(self, dimensions: int | None = None) -> Pooling:
        """The pooling of texts that are embedded."""
        return replace(self.role.pooling, dimensions=dimensions)

    @cached_property
    def pair_pooling(self) -> Pooling:
        """The pooling of pairs."""
        if self.role.has_classes:
            return Pooling(kind="classes")
        return Pooling(kind="tokens", token_ids=self._scored_ids)

    def score(self, numbers: Sequence[float]) -> float:
        """The score of a pair from its numbers, between 0 and 1 where it is a probability."""
        if not self.role.has_classes:
            return _sigmoid(numbers[0] - numbers[1])
        return _sigmoid(numbers[0]) if self.role.is_logistic else numbers[0]

    # -- lengths ----------------------------------------------------------------------------

    @property
    def context(self) -> int:
        """Most tokens of a text, or of a pair."""
        return min(self._context(), self.role.max_tokens or self._context())

    def _most(self, cut: Cut | None) -> int:
        return self.context if cut is None else min(cut.most, self.context)

    def _check_length(self, text: str, cut: Cut | None) -> None:
        """Refuses a text before it is tokenized, where its length says so."""
        try:
            self._tokenizer.check_length(text, self.context * (1 if cut is None else _MOST_CUT))
        except ContextLengthError as error:
            raise self._too_long() from error

    def _too_long(self, num_tokens: int | None = None) -> ContextLengthError:
        has = "more" if num_tokens is None else str(num_tokens)
        return ContextLengthError(
            f"A text has at most {self.context} tokens here; one has {has}.",
            param="input",
            hint="Shorten it, or send truncate_prompt_tokens: -1.",
        )

    def _find_scored_ids(self) -> tuple[int, int]:
        start = self._tokenizer.token_id("<|im_start|>")
        ids = self.role.scored_token_ids or (
            self._tokenizer.token_id("yes"),
            self._tokenizer.token_id("no"),
        )
        if start is None or ids[0] is None or ids[1] is None:
            raise UnsupportedModelError(
                "The model's vocabulary lacks tokens of Qwen3-Reranker's prompt (<|im_start|>, yes,"
                " no), the one that is known here.",
                hint="Serve a Qwen3-Reranker, or a model with a head that classifies.",
            )
        return ids[0], ids[1]


def _cut_inside(whole: list[int], inner: list[int], cut: Cut, most: int) -> list[int]:
    """``whole`` without a part of ``inner``, its last run of those ids.

    Raises:
        InvalidRequestError: what is around leaves no room for any of it.
    """
    room = most - (len(whole) - len(inner))
    starts = range(len(whole) - len(inner), -1, -1)
    start = next((at for at in starts if whole[at : at + len(inner)] == inner), None)
    if room < 1 or start is None:
        raise InvalidRequestError(
            "Cut to so few tokens, nothing of the text would be left.",
            param="truncate_prompt_tokens",
        )
    return [*whole[:start], *cut.of(inner, room), *whole[start + len(inner) :]]


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two vectors."""
    lengths = math.hypot(*one) * math.hypot(*other)
    cosine = sum(map(operator.mul, one, other)) / lengths if lengths else 0.0
    return min(1.0, max(-1.0, cosine))


def _sigmoid(number: float) -> float:
    if number >= 0:
        return 1.0 / (1.0 + math.exp(-number))
    return math.exp(number) / (1.0 + math.exp(number))
