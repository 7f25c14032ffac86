"""Request bodies of all routes, every field bounded.

Fields that nobody knows are ignored and named in the log, or refused by a strict server
(``body_model.py``). What is known beyond these fields is in ``known_fields.py``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from unisono.core.sampling_limits import LIMITS
from unisono.server.openai.body_model import Body, WholeNumber, WholeNumbers
from unisono.server.openai.field_types import (
    AllowedIds,
    Count,
    FewIds,
    LogitBias,
    ModelName,
    Prompt,
    Stop,
    TokenId,
    TopLogprobs,
    within,
)
from unisono.server.openai.message_schema import (
    MAX_ITEMS,
    Documents,
    Messages,
    ShortText,
    Text,
    Tools,
)

__all__ = [
    "OTHER_ROUTES",
    "ChatRequest",
    "CompletionRequest",
    "DetokenizeRequest",
    "RouteBody",
    "SamplingFields",
    "StreamOptions",
    "TokenizeRequest",
]


class StreamOptions(Body):
    place: ClassVar[str] = "stream_options."
    without_effect: ClassVar[frozenset[str]] = frozenset({"include_obfuscation"})

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class RouteBody(Body):
    """The body of a request; without ``model`` the one that is served is meant."""

    model: ModelName | None = None


class SamplingFields(RouteBody):
    """Fields that chat and plain completions share."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[WholeNumber, within(LIMITS["n"])] | None = None
    seed: Annotated[WholeNumber, within(LIMITS["seed"])] | None = None
    temperature: Annotated[float, within(LIMITS["temperature"])] | None = None
    top_p: Annotated[float, within(LIMITS["top_p"], low=0)] | None = None
    top_k: Annotated[WholeNumber, within(LIMITS["top_k"], low=-1)] | None = None
    min_p: Annotated[float, within(LIMITS["min_p"])] | None = None
    repetition_penalty: Annotated[float, within(LIMITS["repetition_penalty"])] | None = None
    presence_penalty: Annotated[float, within(LIMITS["presence_penalty"])] | None = None
    frequency_penalty: Annotated[float, within(LIMITS["frequency_penalty"])] | None = None
    logit_bias: LogitBias | None = None
    allowed_token_ids: AllowedIds | None = None
    stop: Stop | None = None
    stop_token_ids: FewIds | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: Count | None = None
    max_tokens: Count | None = None
    truncate_prompt_tokens: Annotated[WholeNumber, within(LIMITS["max_tokens"], low=-1)] | None = (
        None
    )
    truncation_side: Literal["left", "right"] | None = None
    prompt_logprobs: Annotated[WholeNumber, within(LIMITS["prompt_logprobs"])] | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    priority: Annotated[WholeNumber, Field(ge=-1000, le=1000)] | None = None


class TemplateFields(Body):
    """Fields that say how a conversation becomes a prompt."""

    tools: Tools | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: ShortText | None = None
    documents: Documents | None = None


class ChatRequest(SamplingFields, TemplateFields):
    """Body of ``POST /v1/chat/completions``."""

    messages: Messages
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None


def _none_if_false(value: Any) -> Any:
    """None for False: the flag ``logprobs`` of chats, switched off, asks for nothing here, too."""
    return None if value is False else value


class CompletionRequest(SamplingFields):
    """Body of ``POST /v1/completions``."""

    prompt: Prompt
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


OTHER_ROUTES: dict[type[Body], dict[str, str]] = {
    ChatRequest: dict.fromkeys(CompletionRequest.names - ChatRequest.names, "/v1/completions"),
    CompletionRequest: dict.fromkeys(
        ChatRequest.names - CompletionRequest.names, "/v1/chat/completions"
    ),
}
"""The fields that a route lacks and another has, and which: there they would do something."""
