"""Messages of Ollama's clients as those of a chat: calls get the ids that Ollama leaves out.

Knows messages only.
"""

from __future__ import annotations

from typing import Any

from unisono.server.api_error import bad_request, not_supported

Json = dict[str, Any]


def chat_messages(given: list[Json]) -> list[Json]:
    """Raises:
    ApiError: a message has images, or calls that are none.
    """
    open_calls: list[Json] = []
    return [_message(message, index, open_calls) for index, message in enumerate(given)]


def _message(given: Json, index: int, open_calls: list[Json]) -> Json:
    """``open_calls``: those that have no result yet."""
    place = f"messages[{index}]"
    if given.get("images"):
        raise not_supported("Images", f"{place}.images")
    message = {"role": given.get("role"), "content": given.get("content") or ""}
    if given.get("thinking"):
        message["reasoning_content"] = given["thinking"]
    if given.get("role") == "tool":
        return message | _result(given, open_calls)
    if given.get("tool_calls"):
        message["tool_calls"] = calls = _calls(given["tool_calls"], index, place)
        open_calls[:] = calls
    return message


def _calls(given: Any, index: int, place: str) -> list[Json]:
    calls = given if isinstance(given, list) else [None]
    if not all(isinstance(call, dict) and isinstance(call.get("function"), dict) for call in calls):
        message = f"{place}.tool_calls: Input should be a list of calls of functions."
        raise bad_request(message, param=f"{place}.tool_calls")
    return [
        {
            "id": call.get("id") or f"c{index:04d}{number:04d}",
            "type": "function",
            "function": {name: call["function"].get(name) for name in ("name", "arguments")},
        }
        for number, call in enumerate(calls)
    ]


def _result(given: Json, open_calls: list[Json]) -> Json:
    """The call that a result is of: by its id, else by its tool, else the first that has none."""
    name, wanted = given.get("tool_name") or given.get("name"), given.get("tool_call_id")
    by_name = [call for call in open_calls if name and call["function"]["name"] == name]
    found = next(iter([*by_name, *open_calls]), None)
    if wanted is None and found is not None:
        open_calls.remove(found)
        wanted = found["id"]
    fields = {"tool_call_id": wanted, "name": name}
    return {key: value for key, value in fields.items() if value is not None}
