"""Items of a conversation, as clients send and responses have them, and the messages of a chat
that they are.

Knows items and messages; nothing of what is stored.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Any

from unisono.server.api_error import ApiError, bad_request

Json = dict[str, Any]
_TEXTS = frozenset({"input_text", "output_text", "text", "refusal"})
_THOUGHTS = frozenset({"reasoning_text", "summary_text", "text"})
_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
}
"""Kind of item -> how its id begins."""
_OUTPUT_ID = re.compile(r"(?:msg|rs|fc)_([0-9a-f]{24})_[0-9]{1,6}")
REFERENCE = "item_reference"
"""Kind of an item that stands for one of a stored response."""


def new_id(kind: str) -> str:
    return f"{_PREFIXES[kind]}_{secrets.token_hex(12)}"


def output_id(kind: str, response_id: str, index: int) -> str:
    """The id of an item that a response has: it says of which, so that it can be found again."""
    return f"{_PREFIXES[kind]}_{response_id.partition('_')[2]}_{index}"


def response_of(item_id: str) -> str | None:
    """The response that an item belongs to, if its id is one of :func:`output_id`."""
    found = _OUTPUT_ID.fullmatch(item_id)
    return None if found is None else f"resp_{found[1]}"


def items_of(given: str | list[Any] | None) -> list[Json]:
    """The input as items, each with its kind and an id.

    Raises:
        ApiError: there is none, or one of a kind that is not read here.
    """
    if not given:
        raise bad_request("input: This field is required.", param="input")
    if isinstance(given, str):
        part = {"type": "input_text", "text": given}
        return [_named({"role": "user", "content": [part]}, "message")]
    return [_item(item, f"input[{index}]") for index, item in enumerate(given)]


def _item(given: Any, place: str) -> Json:
    if not isinstance(given, dict):
        raise bad_request(f"{place}: Input should be an object.", param=place)
    kind = given.get("type") or ("message" if "role" in given else None)
    if kind == REFERENCE or (kind is None and isinstance(given.get("id"), str)):
        return {"type": REFERENCE, "id": str(given.get("id"))}
    if kind not in _PREFIXES:
        known = ", ".join(map(repr, _PREFIXES))
        message = f"{place}.type: this server reads items of type {known}, and no others."
        raise bad_request(message, param=f"{place}.type", code="not_supported")
    return _named({name: value for name, value in given.items() if value is not None}, kind)


def _named(item: Json, kind: str) -> Json:
    return {**item, "type": kind, "id": item.get("id") or new_id(kind)}


def messages_of(items: Iterable[tuple[Json, str]]) -> list[Json]:
    """The messages of a chat, from items and their places in the body. What an assistant says in a
    row (reasoning, text, calls) is one message.

    Raises:
        ApiError: a part that is no text, or a field of another kind than documented.
    """
    messages: list[Json] = []
    for item, place in items:
        match item["type"]:
            case "message" if item.get("role") != "assistant":
                content = _content(item.get("content"), place)
                messages.append({"role": item.get("role"), "content": content})
            case "message":
                _said(messages, "content")["content"] = _joined(item.get("content"), place)
            case "reasoning":
                if thought := _thought(item, place):
                    _said(messages, "reasoning_content")["reasoning_content"] = thought
            case "function_call":
                _said(messages, "tool_calls").setdefault("tool_calls", []).append(_call(item))
            case _:
                messages.append(_output(item, place))
    return messages


def _said(messages: list[Json], kind: str) -> Json:
    """The assistant's message that the next part of this kind belongs to. Reasoning begins one, and
    so does a second text."""
    last = messages[-1] if messages else {}
    is_open = last.get("role") == "assistant"
    if not is_open or kind == "reasoning_content" or (kind == "content" and last.get("content")):
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _content(given: Any, place: str) -> str | list[Json]:
    if isinstance(given, str):
        return given
    return [{"type": "text", "text": text} for text in _texts(given, place, "content", _TEXTS)]


def _joined(given: Any, place: str) -> str:
    return given if isinstance(given, str) else "".join(_texts(given, place, "content", _TEXTS))


def _thought(item: Json, place: str) -> str:
    """The reasoning itself where the item has it, else its summary."""
    for name, separator in (("content", ""), ("summary", "\n\n")):
        if item.get(name):
            return separator.join(_texts(item[name], place, name, _THOUGHTS))
    if item.get("encrypted_content"):
        raise bad_request(
            f"{place}.encrypted_content: only who encrypted it can read it. Leave the item out.",
            param=f"{place}.encrypted_content",
            code="not_supported",
        )
    return ""


def _call(item: Json) -> Json:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _output(item: Json, place: str) -> Json:
    if not isinstance(item.get("call_id"), str):
        raise bad_request(f"{place}.call_id: Input should be a text.", param=f"{place}.call_id")
    given = item.get("output")
    content = given if isinstance(given, str) else _texts(given, place, "output", _TEXTS)
    text = content if isinstance(content, str) else "\n".join(content)
    return {"role": "tool", "tool_call_id": item["call_id"], "content": text}


def _texts(given: Any, place: str, name: str, kinds: frozenset[str]) -> list[str]:
    where = f"{place}.{name}"
    if not isinstance(given, list):
        raise bad_request(f"{where}: Input should be a text or a list of parts.", param=where)
    return [_text(part, f"{where}[{index}]", kinds) for index, part in enumerate(given)]


def _text(part: Any, place: str, kinds: frozenset[str]) -> str:
    if not isinstance(part, dict) or part.get("type") not in kinds:
        raise _no_text(place)
    name = "refusal" if part["type"] == "refusal" else "text"
    if not isinstance(part.get(name), str):
        raise bad_request(f"{place}.{name}: Input should be a text.", param=f"{place}.{name}")
    return str(part[name])


def _no_text(place: str) -> ApiError:
    return bad_request(
        "Only text is supported in items: send parts of type 'input_text' or 'output_text'.",
        param=place,
        code="not_supported",
    )
