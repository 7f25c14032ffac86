"""Request bodies of all routes, every field bounded; numbers that are sampling parameters by the
limits of ``core/sampling_limits.py``.

Fields that nobody knows are ignored and named in the log, or refused by a strict server
(``body_model.py``). What is known beyond these fields is in ``known_fields.py``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

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
from unisono.server.openai.body_model import Body, WholeNumber, WholeNumbers
from unisono.server.openai.constraint_fields import ConstraintFields
from unisono.server.openai.message_schema import (
    MAX_ITEMS,
    Documents,
    Messages,
    ShortText,
    Text,
    ToolChoice,
    Tools,
    form_of,
)
from unisono.server.openai.reasoning.fields import ReasoningFields

_MAX_TOP_LOGPROBS = 20


def _within(limit: Limit, *, low: int | None = None) -> Any:
    """A sampling parameter's limit as pydantic writes it; ``low`` is the API's own, included."""
    if limit.low_open and low is None:
        return Field(gt=limit.low, le=limit.high)
    return Field(ge=limit.low if low is None else low, le=limit.high)


TokenId = Annotated[int, _within(TOKEN_ID)]
Count = Annotated[WholeNumber, _within(LIMITS["max_tokens"])]
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
    dict[str, Annotated[float, _within(BIAS)]],
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


class StreamOptions(Body):
    place: ClassVar[str] = "stream_options."
    without_effect: ClassVar[frozenset[str]] = frozenset({"include_obfuscation"})

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class RouteBody(Body):
    """The body of a request; without ``model`` the one that is served is meant."""

    model: ModelName | None = None


class SamplingFields(RouteBody, ConstraintFields):
    """Fields that chat and plain completions share."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[WholeNumber, _within(LIMITS["n"])] | None = None
    seed: Annotated[WholeNumber, _within(LIMITS["seed"])] | None = None
    temperature: Annotated[float, _within(LIMITS["temperature"])] | None = None
    top_p: Annotated[float, _within(LIMITS["top_p"], low=0)] | None = None
    top_k: Annotated[WholeNumber, _within(LIMITS["top_k"], low=-1)] | None = None
    min_p: Annotated[float, _within(LIMITS["min_p"])] | None = None
    repetition_penalty: Annotated[float, _within(LIMITS["repetition_penalty"])] | None = None
    presence_penalty: Annotated[float, _within(LIMITS["presence_penalty"])] | None = None
    frequency_penalty: Annotated[float, _within(LIMITS["frequency_penalty"])] | None = None
    logit_bias: LogitBias | None = None
    allowed_token_ids: AllowedIds | None = None
    stop: Stop | None = None
    stop_token_ids: FewIds | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: Count | None = None
    max_tokens: Count | None = None
    truncate_prompt_tokens: Annotated[WholeNumber, _within(LIMITS["max_tokens"], low=-1)] | None = (
        None
    )
    truncation_side: Literal["left", "right"] | None = None
    prompt_logprobs: Annotated[WholeNumber, _within(LIMITS["prompt_logprobs"])] | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    priority: Annotated[WholeNumber, Field(ge=-1000, le=1000)] | None = None


class TemplateFields(Body):
    """Fields that say how a conversation becomes a prompt."""

    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    """With ``none`` the prompt has no tools: the model can call none."""
    enable_thinking: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: ShortText | None = None
    documents: Documents | None = None


class ChatRequest(SamplingFields, TemplateFields, ReasoningFields):
    """Body of ``POST /v1/chat/completions``."""

    messages: Messages
    max_completion_tokens: Count | None = None
    parallel_tool_calls: bool | None = None
    include_reasoning: bool | None = None
    """False leaves reasoning out of the response."""
    separate_reasoning: bool | None = None
    """False leaves reasoning in the content, with its marks."""
    reasoning_format: Literal["none", "auto", "deepseek", "deepseek-legacy"] | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None


def _none_if_false(value: Any) -> Any:
    """None for False: the flag ``logprobs`` of chats, switched off, asks for nothing here, too."""
    return None if value is False else value


class CompletionRequest(SamplingFields):
    """Body of ``POST /v1/completions``."""

    prompt: Prompt
    suffix: Text | None = None
    """The answer is what comes between the prompt and this."""
    logprobs: Annotated[TopLogprobs | None, BeforeValidator(_none_if_false)] = None
    echo: bool | None = None
    add_special_tokens: bool | None = None


class TokenizeRequest(RouteBody, TemplateFields):
    """Body of ``POST /tokenize``: ``prompt`` or ``messages``. What else a chat has is left alone:
    it has nothing to do with tokens."""

    without_effect: ClassVar[frozenset[str]] = frozenset(ChatRequest.model_fields)

    prompt: Text | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(RouteBody):
    """Body of ``POST /detokenize``."""

    tokens: Annotated[list[TokenId], Field(max_length=MAX_ITEMS, fail_fast=True), WholeNumbers]
