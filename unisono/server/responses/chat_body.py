"""From the body of ``/v1/responses`` and what was said before to the body of a chat.

The chat is checked as any other, so that both routes know the same limits; what is wrong with it is
told in the words of this route. Knows bodies; nothing of engines or of what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from unisono.core.errors import RequestError
from unisono.server.api_error import ApiError, api_error, bad_request, not_supported
from unisono.server.responses.input_items import messages_of
from unisono.server.responses.response_body import SAME, ResponsesRequest, check_features

Json = dict[str, Any]
_MODES = ("none", "auto", "required")
_BUILT_IN = (
    *("web_search", "file_search", "computer", "code_interpreter", "image_generation", "mcp"),
    *("custom", "local_shell", "shell", "apply_patch", "tool_search", "namespace"),
)
"""Kinds of tools that OpenAI runs, or that are no functions; each with what follows it: a date."""
_WORDS = (
    (re.compile(r"\bmessages(\[\d+\][\w.\[\]]*)?"), "input"),
    (re.compile(r"\bmax_tokens\b"), "max_output_tokens"),
    (re.compile(r"\bresponse_format\.json_schema\b|\bresponse_format\b"), "text.format"),
    (re.compile(r"\btools\[(\d+)\]\.function\b"), r"tools[\1]"),
    (re.compile(r"\breasoning_effort\b"), "reasoning.effort"),
)
"""Names of a chat's fields -> those of this route."""


def to_chat(body: ResponsesRequest, before: Sequence[Json], items: Sequence[Json]) -> Json:
    """The body of a chat.

    Args:
        before: items of the turns that this one goes on from.
        items: those of this one.

    Raises:
        ApiError: a part that is no text, a tool that is no function, or a field of another kind
            than documented.
    """
    check_features(body)
    chat: Json = {name: getattr(body, name) for name in SAME}
    placed = [(item, "previous_response_id") for item in before]
    placed += [(item, f"input[{index}]") for index, item in enumerate(items)]
    messages = messages_of(placed)
    if body.instructions:
        messages.insert(0, {"role": "system", "content": body.instructions})
    chat |= {"messages": messages, "max_tokens": body.max_output_tokens}
    if body.shows_logprobs:
        chat |= {"logprobs": True, "top_logprobs": body.top_logprobs}
    chat |= _tools(body)
    chat["reasoning_effort"] = _effort(body.reasoning or {})
    chat["response_format"] = _response_format(body.text or {})
    return {name: value for name, value in chat.items() if value is not None}


def in_own_words(error: BaseException) -> ApiError:
    """An error about a chat's body as one about the response's."""
    found = api_error(error)
    if not isinstance(error, ApiError | RequestError):
        return found
    for pattern, word in _WORDS:
        found.message = pattern.sub(word, found.message)
        found.param = pattern.sub(word, found.param) if found.param else None
    return found


def _tools(body: ResponsesRequest) -> Json:
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(body.tools or ())]
    choice = body.tool_choice
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        names = _allowed(choice)
        if not names <= {tool["function"].get("name") for tool in tools}:
            message = "tool_choice.tools names a function that is none of the tools."
            raise bad_request(message, param="tool_choice.tools")
        tools = [tool for tool in tools if tool["function"]["name"] in names]
        choice = choice.get("mode", "auto")
    elif isinstance(choice, dict):
        if choice.get("type") != "function":
            raise not_supported("This choice of a tool", "tool_choice.type", "Name a function.")
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    if isinstance(choice, str) and choice not in _MODES:
        raise bad_request(
            "tool_choice: Input should be 'none', 'auto', 'required' or an object.",
            param="tool_choice",
        )
    return {"tools": tools or None, "tool_choice": choice}


def _tool(tool: Json, place: str) -> Json:
    kind = tool.get("type")
    if kind != "function":
        known = next((name for name in _BUILT_IN if str(kind).startswith(name)), "of this type")
        hint = "This server runs no tools of its own: send tools of type 'function'."
        raise not_supported(f"The tool {known}", f"{place}.type", hint)
    function = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": kind, "function": function}


def _allowed(choice: Json) -> set[str]:
    given = choice.get("tools")
    names = [tool.get("name") for tool in given or () if isinstance(tool, dict)]
    if not isinstance(given, list) or not all(isinstance(name, str) for name in names):
        place = "tool_choice.tools"
        raise bad_request(f"{place}: Input should be a list of functions.", param=place)
    return {str(name) for name in names}


def _effort(reasoning: Json) -> Any:
    for name in ("summary", "generate_summary"):
        if reasoning.get(name) not in (None, "auto", "none"):
            hint = "Reasoning itself is in the response, as reasoning_text."
            raise not_supported("A summary of reasoning", f"reasoning.{name}", hint)
    return reasoning.get("effort")


def _response_format(text: Json) -> Json | None:
    if text.get("verbosity") not in (None, "medium"):
        raise not_supported("Verbosity", "text.verbosity")
    given = text.get("format")
    if given is None or given == {"type": "text"}:
        return None
    kind = given.get("type") if isinstance(given, dict) else None
    if kind == "json_object":
        return {"type": kind}
    if kind != "json_schema":
        message = "text.format.type: Input should be 'text', 'json_schema' or 'json_object'."
        raise bad_request(message, param="text.format.type")
    return {"type": kind, kind: {name: given[name] for name in given if name != "type"}}
