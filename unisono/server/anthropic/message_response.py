"""Response bodies of Anthropic's routes, for ``/openapi.json`` and its readers.

Responses are put together by hand (``message_renderer.py``); a test holds the two together.
"""

from __future__ import annotations

from typing import Any, Literal

from unisono.server.openai.openapi import ERRORS
from unisono.server.openai.response_schema import ErrorResponse, Exact


class TextBlock(Exact):
    type: Literal["text"]
    text: str


class ThinkingBlock(Exact):
    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseBlock(Exact):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class MessageUsage(Exact):
    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class Message(Exact):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[TextBlock | ThinkingBlock | ToolUseBlock]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    stop_sequence: str | None
    usage: MessageUsage


class TokenCount(Exact):
    input_tokens: int


class MessagesErrorDetail(Exact):
    type: str
    message: str


class MessagesError(Exact):
    type: Literal["error"]
    error: MessagesErrorDetail


MESSAGE_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {**said, "model": MessagesError | ErrorResponse} for status, said in ERRORS.items()
}
"""The errors of both shapes: a request that no route has seen is refused in OpenAI's."""
