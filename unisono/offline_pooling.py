"""Offline embeddings, scores and rerankings: what ``LLM`` does with texts that want no answer."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unisono.core.errors import InvalidRequestError, RequestFailedError
from unisono.core.pooling import Pooling, read_numbers
from unisono.core.request import Request, RequestOutput
from unisono.text.pooled_inputs import Cut, PooledInputs
from unisono.text.scoring import paired, score_job

Texts = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class RankedDocument:
    index: int
    """Place among the documents as they were given."""
    score: float
    document: str


class PooledRequest:
    """One text while it is computed."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.finished = False
        self._output: RequestOutput | None = None

    def take(self, output: RequestOutput) -> None:
        self._output = output
        self.finished = output.finish_reason is not None

    def has_ended(self) -> bool:
        """Raises RequestFailedError where the model could not compute it."""
        if self._output is not None and self._output.error is not None:
            raise RequestFailedError(self._output.error)
        return self.finished

    def numbers(self) -> array[float]:
        """The result, once it has ended."""
        assert self._output is not None
        assert self._output.pooled is not None
        return read_numbers(self._output.pooled)


class OfflinePooling(ABC):
    """The part of ``LLM`` that embeds, scores and reranks."""

    _inputs: PooledInputs

    @abstractmethod
    def _pool(
        self, prompts: Sequence[Sequence[int]], pooling: Pooling, adapter: str | None
    ) -> list[array[float]]:
        """The numbers of each prompt, in order."""

    def embed(
        self,
        texts: Texts | Sequence[int] | Sequence[Sequence[int]],
        *,
        dimensions: int | None = None,
        prompt_name: str | None = None,
        cut: Cut | None = None,
        adapter: str | None = None,
    ) -> list[array[float]]:
        """A vector for each text, or list of token ids; of length 1, if the model's folder says so.

        Args:
            dimensions: numbers of a vector, its first; for models trained to be cut so.
            prompt_name: of a prompt of the model's, such as ``query``, that goes before each text.
            cut: what to do with longer texts, ``Cut(512)``. Without it they are refused.
            adapter: name of the adapter that computes; None: the model alone.

        Raises:
            InvalidRequestError, ContextLengthError: before anything is computed.
            RequestFailedError: the model could not compute one of them.
        """
        inputs = self._inputs
        inputs.role.check("embed")
        prompt = inputs.role.prompt(prompt_name)
        token_ids = [
            inputs.text(one, prompt=prompt, cut=cut)
            if isinstance(one, str)
            else inputs.token_ids(one, cut)
            for one in _one_by_one(texts)
        ]
        return self._pool(token_ids, inputs.vector_pooling(dimensions), adapter)

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        instruction: str | None = None,
        cut: Cut | None = None,
        adapter: str | None = None,
    ) -> list[RankedDocument]:
        """The documents in the order of their scores; of a model that embeds, by cosines.

        Args:
            top_n: leave out all but so many.
            instruction: what makes a document relevant, to a reranker that is told.
            cut, adapter: as of :meth:`embed`; what is lost is the document's.

        Raises:
            As :meth:`embed`.
        """
        if top_n is not None and top_n < 1:
            raise InvalidRequestError("top_n must be at least 1.", param="top_n")
        given = _texts(documents, "documents")
        scores = self._scores(
            _texts(query, "query"), given, instruction, cut, adapter, is_search=True
        )
        ranked = sorted(enumerate(scores), key=lambda entry: -entry[1])[:top_n]
        return [RankedDocument(index, score, given[index]) for index, score in ranked]

    def score(
        self,
        text_1: Texts,
        text_2: Texts,
        *,
        instruction: str | None = None,
        cut: Cut | None = None,
        adapter: str | None = None,
    ) -> list[float]:
        """The score of each pair; a single ``text_1`` goes with each ``text_2``. Arguments and
        errors as of :meth:`rerank`."""
        first, second = _texts(text_1, "text_1"), _texts(text_2, "text_2")
        return self._scores(first, second, instruction, cut, adapter, is_search=False)

    def _scores(
        self,
        first: list[str],
        second: list[str],
        instruction: str | None,
        cut: Cut | None,
        adapter: str | None,
        *,
        is_search: bool,
    ) -> list[float]:
        pairs = paired(first, second)
        job = score_job(self._inputs, *pairs, instruction=instruction, cut=cut, is_search=is_search)
        return job.scores(self._pool(job.token_ids, job.pooling, adapter))


def _one_by_one(given: Any) -> list[str | list[int]]:
    """The four forms of what is embedded as one: a list of texts or of token ids."""
    try:
        if isinstance(given, str) or any(isinstance(one, int) for one in given):
            given = [given]
        return [
            one if isinstance(one, str) else [operator.index(token_id) for token_id in one]
            for one in given
        ]
    except TypeError as error:
        raise InvalidRequestError(
            "Embedded are texts or lists of token ids.", param="texts"
        ) from error


def _texts(given: Texts, param: str) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, Sequence) or not all(isinstance(one, str) for one in listed):
        raise InvalidRequestError(f"{param} must be texts.", param=param)
    return list(listed)
