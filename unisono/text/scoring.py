"""Scores of pairs of texts: what is to be computed for them, and what becomes of its numbers.

A reranker reads each pair as one text. Of a model that embeds, the score is the cosine of the two
texts' vectors, each computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unisono.core.errors import InvalidRequestError
from unisono.core.pooling import Pooling
from unisono.text.pooled_inputs import Cut, PooledInputs, likeness

Numbers = Sequence[Sequence[float]]
_QUERY, _DOCUMENT = ("query",), ("document", "passage", "corpus")
"""Names that sentence-transformers has for the prompts of a search, tried in order."""


@dataclass(frozen=True, slots=True)
class ScoreJob:
    token_ids: list[list[int]]
    """To be pooled as ``pooling`` says."""
    pooling: Pooling
    scores: Callable[[Numbers], list[float]]
    """From the numbers of each of ``token_ids`` to the score of each pair."""


def paired(first: Sequence[str], second: Sequence[str]) -> tuple[list[str], list[str]]:
    """Pairs of texts: a single first text goes with each of the second.

    Raises:
        InvalidRequestError: other numbers of texts, or none.
    """
    if not first or not second:
        raise InvalidRequestError("There is no pair of texts.", param="text_2")
    if len(first) not in (1, len(second)):
        raise InvalidRequestError(
            f"{len(first)} texts cannot be paired with {len(second)}.",
            param="text_1",
            hint="Send one, or as many as of the others.",
        )
    return [*first] * (len(second) if len(first) == 1 else 1), [*second]


def score_job(
    inputs: PooledInputs,
    first: Sequence[str],
    second: Sequence[str],
    *,
    instruction: str | None = None,
    cut: Cut | None = None,
    is_search: bool = False,
) -> ScoreJob:
    """The job of scoring ``first`` with ``second``, pair by pair.

    Args:
        instruction: what makes a document relevant, to a reranker that is told.
        is_search: ``first`` are queries, ``second`` documents, and a model that embeds has its
            prompts for them before these.

    Raises:
        InvalidRequestError: the model scores nothing, or a text is wrong.
        ContextLengthError: a text or a pair is too long.
    """
    inputs.role.check("rerank", "embed")
    if inputs.role.task == "embed":
        if instruction is not None:
            raise InvalidRequestError("This model takes no instruction.", param="instruction")
        return _likenesses(inputs, first, second, cut, is_search=is_search)
    pairs = [
        inputs.pair(one, other, instruction=instruction, cut=cut)
        for one, other in zip(first, second, strict=True)
    ]
    return ScoreJob(pairs, inputs.pair_pooling, lambda numbers: [*map(inputs.score, numbers)])


def _likenesses(
    inputs: PooledInputs,
    first: Sequence[str],
    second: Sequence[str],
    cut: Cut | None,
    *,
    is_search: bool,
) -> ScoreJob:
    prompts = [_prompt(inputs, names, is_search) for names in (_QUERY, _DOCUMENT)]
    ones = [(prompts[0], text) for text in first]
    others = [(prompts[1], text) for text in second]
    place = {key: index for index, key in enumerate(dict.fromkeys([*ones, *others]))}
    token_ids = [inputs.text(text, prompt=prompt, cut=cut) for prompt, text in place]

    def scores(numbers: Numbers) -> list[float]:
        pairs = zip(ones, others, strict=True)
        return [likeness(numbers[place[one]], numbers[place[other]]) for one, other in pairs]

    return ScoreJob(token_ids, inputs.vector_pooling(), scores)


def _prompt(inputs: PooledInputs, names: Sequence[str], is_search: bool) -> str:
    known = [name for name in names if is_search and name in inputs.role.prompts]
    return inputs.role.prompt(known[0] if known else None)
