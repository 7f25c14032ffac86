"""Fields of the OpenAI API that would change the answer and are not there yet.

They get their own message, before the schema would call them unknown. Knows field names only.
"""

from __future__ import annotations

from typing import Any

from unisono.server.api_error import ApiError, bad_request, not_supported

__all__ = ["drop_unsupported"]

_FEATURES = {
    "audio": "Audio",
    "best_of": "best_of other than n",
    "function_call": "Function calling by the old fields",
    "functions": "Function calling by the old fields",
    "guided_json": "Structured output",
    "guided_regex": "Structured output",
    "guided_choice": "Structured output",
    "guided_grammar": "Structured output",
    "structured_outputs": "Structured output",
    "modalities": "Any output other than text",
    "moderation": "Moderation",
    "parallel_tool_calls": "Switching off parallel tool calls",
    "prediction": "Predicted output",
    "reasoning_effort": "Reasoning effort",
    "response_format": "Structured output",
    "store": "Storing answers",
    "suffix": "Filling in before a suffix",
    "tool_choice": "Forcing a tool call",
    "verbosity": "Verbosity",
    "web_search_options": "Web search",
}
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "tool_choice": ("none", "auto"),
}


def drop_unsupported(body: Any) -> Any:
    """The body without the known fields that say nothing (``null``).

    Raises:
        ApiError: a field, or a value of it, that is known but not supported.
    """
    if not isinstance(body, dict):
        return body
    for name in body.keys() & _FEATURES.keys():
        if not _harmless(name, body):
            raise not_supported(_FEATURES[name], name)
    _refuse_media(body.get("messages"))
    return {
        name: value for name, value in body.items() if value is not None or name not in _FEATURES
    }


def _harmless(name: str, body: dict[str, Any]) -> bool:
    value = body[name]
    if value is None or value in _HARMLESS.get(name, ()):
        return True
    return name == "best_of" and value == (body.get("n") or 1)


def _refuse_media(messages: Any) -> None:
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind != "text":
                raise _no_media(index)


def _no_media(index: int) -> ApiError:
    return bad_request(
        "Only text is supported in messages: send content parts of type 'text'.",
        param=f"messages[{index}].content",
        code="not_supported",
    )
