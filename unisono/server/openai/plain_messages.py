"""Messages of a request as chat templates expect them: arguments of tool calls as objects.

Knows request bodies; nothing of templates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from unisono.server.api_error import bad_request
from unisono.server.http.body_shape import BodyShape
from unisono.server.openai.message_schema import ChatMessage, TextPart, ToolCall


def plain_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Raises:
    ApiError: the arguments of tool calls, JSON in a text, have too many values.
    """
    shape = BodyShape(max_depth=0, context=0)
    return [_plain(message, shape) for message in messages]


def num_characters(message: ChatMessage) -> int:
    """Characters of a message's content and of its tool calls' arguments."""
    content = message.content or ""
    texts = [content] if isinstance(content, str) else [part.text for part in content]
    arguments = [call.function.arguments for call in message.tool_calls or ()]
    return sum(len(text) for text in (*texts, *arguments) if isinstance(text, str))


def _plain(message: ChatMessage, shape: BodyShape) -> dict[str, Any]:
    """A tool may say nothing."""
    content: str | list[str] | None = "" if message.role == "tool" else None
    if message.content is not None:
        given = message.content
        content = given if isinstance(given, str) else _texts(given, are_thoughts=False)
    plain: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": content or message.refusal or content,
    }
    for name in ("name", "tool_call_id"):
        if (value := getattr(message, name)) is not None:
            plain[name] = value
    if reasoning := _reasoning(message):
        plain["reasoning_content"] = reasoning
    if message.tool_calls:
        plain["tool_calls"] = [_plain_call(call, shape) for call in message.tool_calls]
    return plain


def _reasoning(message: ChatMessage) -> str | None:
    """The assistant's reasoning, from the field or the parts in which its server told it."""
    said = message.reasoning_content or message.reasoning or message.thinking
    if said or not isinstance(message.content, list):
        return said
    return "\n".join(filter(None, _texts(message.content, are_thoughts=True)))


def _texts(parts: Sequence[TextPart], *, are_thoughts: bool) -> list[str]:
    return [part.text for part in parts if (part.type == "thinking") == are_thoughts]


def _plain_call(call: ToolCall, shape: BodyShape) -> dict[str, Any]:
    arguments = call.function.arguments
    if not isinstance(arguments, dict):
        arguments = _parsed(arguments or "{}", shape)
    plain = {"type": "function", "function": {"name": call.function.name, "arguments": arguments}}
    return plain if call.id is None else {"id": call.id, **plain}


def _parsed(arguments: str, shape: BodyShape) -> Any:
    """The object that the text says; the text itself where a model has written none."""
    shape.begin_text()
    shape.feed_all(arguments.encode("utf-8", "replace"))
    if shape.is_refused:
        raise bad_request("The arguments of tool calls have too many values.", param="messages")
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments
