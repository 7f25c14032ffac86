"""Bodies of the routes that embed, score and rerank: OpenAI's, vLLM's, Jina's and Cohere's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from unisono.core.sampling_limits import LIMITS
from unisono.server.openai.body_model import Body, WholeNumber
from unisono.server.openai.message_schema import ShortText, Text, form_of
from unisono.server.openai.request_schema import Ids, RouteBody
from unisono.text.pooled_inputs import Cut

MOST_TEXTS = 1 << 16
"""Texts that are read; a server takes fewer of them in one request (``Limits.inputs``)."""
_Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS, fail_fast=True)]


def _input_form(value: Any) -> str | None:
    if not (isinstance(value, list) and value):
        return "(texts)" if isinstance(value, list) else form_of(value)
    if isinstance(value[0], str):
        return "(texts)"
    return "(lists of ids)" if isinstance(value[0], list) else "(ids)"


Input = Annotated[
    Annotated[Text, Tag("(text)")]
    | Annotated[_Texts, Tag("(texts)")]
    | Annotated[Ids, Tag("(ids)")]
    | Annotated[
        list[Ids], Field(min_length=1, max_length=MOST_TEXTS, fail_fast=True), Tag("(lists of ids)")
    ],
    Discriminator(
        _input_form,
        custom_error_type="input_form",
        custom_error_message="Input should be a text, token ids, or a list of texts or of lists of"
        " token ids",
    ),
]
OneOrMore = Annotated[
    Annotated[Text, Tag("(text)")] | Annotated[_Texts, Tag("(list)")],
    Discriminator(
        form_of,
        custom_error_type="texts_form",
        custom_error_message="Input should be a text or a list of texts",
    ),
]


def _as_object(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


class Document(Body):
    """A text, or an object that has it."""

    place = "documents[]."

    text: Text


class PooledBody(RouteBody):
    """Fields that all of them share."""

    truncate_prompt_tokens: (
        Annotated[WholeNumber, Field(ge=-1, le=LIMITS["max_tokens"].high)] | None
    ) = None
    truncation_side: Literal["left", "right"] | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    priority: Annotated[WholeNumber, Field(ge=-1000, le=1000)] | None = None

    def cut(self, context: int) -> Cut | None:
        """The client's word on texts that are too long; -1 keeps what the context holds.

        Args:
            context: most tokens of a text.
        """
        most = self.truncate_prompt_tokens
        if most is None:
            return None
        return Cut(context if most < 0 else most, self.truncation_side or "right")


class EmbeddingRequest(PooledBody):
    """Body of ``POST /v1/embeddings``."""

    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[WholeNumber, Field(ge=1, le=MOST_TEXTS)] | None = None
    prompt_name: ShortText | None = None


class ScoreRequest(PooledBody):
    """Body of ``POST /v1/score``."""

    text_1: OneOrMore
    text_2: OneOrMore
    instruction: Text | None = None


class RerankRequest(PooledBody):
    """Body of ``POST /v1/rerank``."""

    query: Text
    documents: Annotated[
        list[Annotated[Document, BeforeValidator(_as_object)]],
        Field(min_length=1, max_length=MOST_TEXTS, fail_fast=True),
    ]
    top_n: Annotated[WholeNumber, Field(ge=1)] | None = None
    return_documents: bool | None = None
    instruction: Text | None = None
