"""Types of the fields of a request body, each with its bounds as pydantic writes them.

Numbers that are sampling parameters have the limits of ``core/sampling_limits.py``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag

from unisono.core.sampling_limits import (
    BIAS,
    LIMITS,
    MAX_ALLOWED_TOKENS,
    MAX_LOGIT_BIAS,
    MAX_STOP_LENGTH,
    MAX_STOPS,
    TOKEN_ID,
    Limit,
)
from unisono.server.openai.body_model import WholeNumber, WholeNumbers
from unisono.server.openai.message_schema import MAX_ITEMS, Text, form_of

__all__ = [
    "AllowedIds",
    "Count",
    "FewIds",
    "LogitBias",
    "ModelName",
    "Prompt",
    "Stop",
    "TokenId",
    "TopLogprobs",
    "within",
]

_MAX_TOP_LOGPROBS = 20


def within(limit: Limit, *, low: int | None = None) -> Any:
    """A sampling parameter's limit as pydantic writes it; ``low`` is the API's own, included."""
    if limit.low_open and low is None:
        return Field(gt=limit.low, le=limit.high)
    return Field(ge=limit.low if low is None else low, le=limit.high)


TokenId = Annotated[int, within(TOKEN_ID)]
Count = Annotated[WholeNumber, within(LIMITS["max_tokens"])]
TopLogprobs = Annotated[WholeNumber, Field(ge=0, le=_MAX_TOP_LOGPROBS)]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]
ModelName = Annotated[str, Field(max_length=1024)]
Ids = Annotated[
    list[TokenId], Field(min_length=1, max_length=MAX_ITEMS, fail_fast=True), WholeNumbers
]


FewIds = Annotated[list[TokenId], Field(max_length=MAX_STOPS), WholeNumbers]
AllowedIds = Annotated[
    list[TokenId], Field(min_length=1, max_length=MAX_ALLOWED_TOKENS), WholeNumbers
]


def _without_null(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: number for name, number in value.items() if number is not None}


LogitBias = Annotated[
    dict[str, Annotated[float, within(BIAS)]],
    Field(max_length=MAX_LOGIT_BIAS),
    BeforeValidator(_without_null),
]


def _stop_form(value: Any) -> str | None:
    return "(nothing)" if value == "" else form_of(value)


Stop = Annotated[
    Annotated[str, Field(max_length=0), Tag("(nothing)")]
    | Annotated[StopText, Tag("(text)")]
    | Annotated[list[StopText], Field(max_length=MAX_STOPS), Tag("(list)")],
    Discriminator(
        _stop_form,
        custom_error_type="stop_form",
        custom_error_message="Input should be a text or a list of texts",
    ),
]


def _prompt_form(value: Any) -> str | None:
    if not (isinstance(value, list) and value):
        return "(text)" if isinstance(value, str) else None
    if isinstance(value[0], str):
        return "(texts)"
    return "(lists of ids)" if isinstance(value[0], list) else "(ids)"


Prompt = Annotated[
    Annotated[Text, Tag("(text)")]
    | Annotated[list[Text], Field(max_length=4096, fail_fast=True), Tag("(texts)")]
    | Annotated[Ids, Tag("(ids)")]
    | Annotated[list[Ids], Field(max_length=4096, fail_fast=True), Tag("(lists of ids)")],
    Discriminator(
        _prompt_form,
        custom_error_type="prompt_form",
        custom_error_message="Input should be a text, token ids, or a list of texts or of lists "
        "of token ids",
    ),
]
