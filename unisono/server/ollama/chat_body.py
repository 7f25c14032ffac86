"""From bodies of Ollama's routes to those of a chat or a completion, which are checked as such.

Knows bodies; nothing of engines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from unisono.core.errors import RequestError
from unisono.server.api_error import ApiError, api_error, bad_request
from unisono.server.ollama.chat_messages import chat_messages
from unisono.server.ollama.ollama_body import (
    OllamaBody,
    OllamaChat,
    OllamaGenerate,
    OllamaOptions,
    check_features,
    model_name,
)

Json = dict[str, Any]
_OTHER_NAMES = {"repeat_penalty": "repetition_penalty", "num_predict": "max_tokens"}
"""Option -> the field of a chat that it is, where the names differ."""
_WORDS = (
    (re.compile(r"\bmax_tokens\b"), "options.num_predict"),
    (re.compile(r"\brepetition_penalty\b"), "options.repeat_penalty"),
    (re.compile(r"\b(temperature|top_k|top_p|min_p|seed|stop)\b(?=:)"), r"options.\1"),
    (re.compile(r"\b(reasoning_effort|enable_thinking)\b"), "think"),
)
"""Names of a chat's fields -> those of Ollama."""


@dataclass(frozen=True)
class Thinking:
    """The model's reasoning: whether it reasons, and whether its template has a switch."""

    is_known: bool
    has_switch: bool

    def fields(self, think: bool | str | None) -> Json:
        """Fields of a chat.

        Raises:
            ApiError: the model cannot do what is asked for.
        """
        if think is None:
            return {}
        if isinstance(think, str):
            return {"reasoning_effort": think}
        if think and not (self.is_known or self.has_switch):
            raise bad_request("think: This model does not think.", param="think")
        needs_switch = self.has_switch or (self.is_known and not think)
        return {"enable_thinking": think} if needs_switch else {}


def to_chat(body: OllamaChat, thinking: Thinking) -> Json:
    """The body of a chat.

    Raises:
        ApiError: a field asks for what is not done here.
    """
    chat = _common(body) | thinking.fields(body.think)
    chat["messages"] = chat_messages(body.messages or [])
    if body.tools:
        chat["tools"] = body.tools
    return chat


def prompt_to_chat(body: OllamaGenerate, thinking: Thinking) -> Json:
    """The body of a chat of one question."""
    chat = _common(body) | thinking.fields(body.think)
    messages = [{"role": "system", "content": body.system}] if body.system else []
    return {**chat, "messages": [*messages, {"role": "user", "content": body.prompt}]}


def to_completion(body: OllamaGenerate) -> Json:
    """The body of a completion: of a raw prompt, or of one before a suffix."""
    if body.system:
        message = "system: A prompt without a template has no system message. Leave it out."
        raise bad_request(message, param="system")
    common = _common(body)
    if common.pop("logprobs", False):
        common["logprobs"] = common.pop("top_logprobs", 0)
    fields = {"suffix": body.suffix} if body.suffix else {}
    return {"max_tokens": None, **common, **fields, "prompt": body.prompt or ""}


def in_own_words(error: BaseException) -> ApiError:
    """An error about a chat's body as one about Ollama's."""
    found = api_error(error)
    if isinstance(error, ApiError | RequestError):
        for pattern, word in _WORDS:
            found.message = pattern.sub(word, found.message)
    return found


def _common(body: OllamaBody) -> Json:
    check_features(body)
    chat: Json = {"model": model_name(body.model), "stream": body.streams, "format": body.format}
    chat |= _options(body.options or OllamaOptions())
    if body.logprobs:
        chat |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
    return {name: value for name, value in chat.items() if value is not None}


def _options(given: OllamaOptions) -> Json:
    said = given.model_dump(exclude_none=True)
    if said.get("num_predict", 1) <= 0:  # no limit
        del said["num_predict"]
    return {_OTHER_NAMES.get(name, name): value for name, value in said.items()}
