"""From the fields of a request body to sampling parameters, within this server's limits.

Knows both vocabularies; nothing of HTTP or engines.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from unisono.core.sampling import SamplingParams
from unisono.server.api_error import bad_request
from unisono.server.openai.constraint_fields import asked_constraint
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest, SamplingFields
from unisono.server.settings import Limits

_LEGACY_MAX_TOKENS = 16
_LEAST_TOP_P = 1e-9
"""Less than the likeliest of any vocabulary's tokens has: what a ``top_p`` of 0 comes to."""
_ANY_SEED = -1
"""A seed that means none, as in vLLM and llama.cpp: their clients send it where no seed is set."""
_SHOWN_KEY = 40
_SHOWN_KEYS = 8
_OWN_FORM = {"logit_bias", "logprobs", "max_tokens", "seed", "stop", "top_k", "top_p"}
"""Parameters that a body says in other values than the engine takes."""
_SAME_FORM = SamplingFields.model_fields.keys() & {
    each.name for each in dataclasses.fields(SamplingParams) if each.name not in _OWN_FORM
}


def chat_params(body: ChatRequest, limits: Limits) -> SamplingParams:
    """Raises:
    ApiError, InvalidRequestError: fields that contradict each other, or exceed a limit.
    """
    if body.stream and body.prompt_logprobs is not None:
        raise bad_request(
            "prompt_logprobs are not streamed: leave stream out.", param="prompt_logprobs"
        )
    if body.top_logprobs and not body.logprobs:
        raise bad_request("top_logprobs needs logprobs to be true.", param="top_logprobs")
    max_tokens = body.max_completion_tokens
    if max_tokens is None:
        max_tokens = body.max_tokens
    elif body.max_tokens not in (None, max_tokens):
        raise bad_request("max_tokens and max_completion_tokens differ.", param="max_tokens")
    return SamplingParams(
        **_common(body, limits),
        max_tokens=_checked_max_tokens(max_tokens, body.prompt_logprobs is not None, limits),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        thinking_token_budget=body.thinking_token_budget,
    )


def completion_params(body: CompletionRequest, limits: Limits) -> SamplingParams:
    """Raises:
    ApiError, InvalidRequestError: fields that contradict each other, or exceed a limit.
    """
    fields = _common(body, limits)
    max_tokens = _LEGACY_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    scores_prompt = body.prompt_logprobs is not None or bool(body.echo)
    if body.echo and (body.logprobs is not None or max_tokens == 0):
        wanted = (body.prompt_logprobs or 0, body.logprobs or 0)
        fields["prompt_logprobs"] = max(wanted)
    return SamplingParams(
        **fields,
        max_tokens=_checked_max_tokens(max_tokens, scores_prompt, limits),
        logprobs=body.logprobs,
    )


def has_limit(body: SamplingFields) -> bool:
    """True where the client says how many tokens it wants; a default gives way to the context."""
    return body.max_tokens is not None or getattr(body, "max_completion_tokens", None) is not None


def _common(body: SamplingFields, limits: Limits) -> dict[str, Any]:
    if body.stream_options is not None and not body.stream:
        raise bad_request("stream_options needs stream to be true.", param="stream_options")
    if body.n is not None and body.n > limits.n:
        raise bad_request(f"n is at most {limits.n} on this server.", param="n")
    values = {name: getattr(body, name) for name in _SAME_FORM}
    fields = {name: value for name, value in values.items() if value is not None}
    if body.seed not in (None, _ANY_SEED):
        fields["seed"] = body.seed
    if body.top_p is not None:
        fields["top_p"] = max(body.top_p, _LEAST_TOP_P)
    if body.top_k is not None:
        fields["top_k"] = max(body.top_k, 0)
    if body.stop:
        fields["stop"] = body.stop
    if (asked := asked_constraint(body)) is not None:
        fields["constraint"] = asked.constraint
    if body.logit_bias:
        fields["logit_bias"] = _logit_bias(body.logit_bias)
    return fields


def _logit_bias(given: dict[str, float]) -> dict[int, float]:
    wrong = [name for name in given if not (name.isascii() and name.isdigit() and len(name) <= 10)]
    if wrong:
        named = ", ".join(ascii(name[:_SHOWN_KEY]) for name in wrong[:_SHOWN_KEYS])
        raise bad_request(f"The keys of logit_bias are token ids, not {named}.", param="logit_bias")
    return {int(name): bias for name, bias in given.items()}


def _checked_max_tokens(max_tokens: int | None, scores_prompt: bool, limits: Limits) -> int | None:
    if max_tokens == 0 and not scores_prompt:
        raise bad_request(
            "max_tokens=0 asks for no answer: send 1 or more. 0 goes with prompt_logprobs, and with"
            " the echo of /v1/completions.",
            param="max_tokens",
        )
    if limits.max_tokens is None:
        return max_tokens
    if max_tokens is not None and max_tokens > limits.max_tokens:
        message = f"max_tokens is at most {limits.max_tokens} on this server."
        raise bad_request(message, param="max_tokens")
    return limits.max_tokens if max_tokens is None else max_tokens
