"""Bodies of ``/v1/messages``, and the chats that they are.

A body is turned into one of ``/v1/chat/completions`` and checked as such, so that both routes know
the same limits. Knows bodies; nothing of engines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from unisono.server.api_error import bad_request
from unisono.server.openai.body_model import Body

Json = dict[str, Any]
_TEXTS = frozenset({"text"})
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_SAME = ("model", "stream", "temperature", "top_p", "top_k", "max_tokens")


class MessagesRequest(Body):
    """Body of ``POST /v1/messages``. Values that a chat has too are checked there."""

    without_effect: ClassVar[frozenset[str]] = frozenset(
        {
            "metadata",
            "service_tier",
            "cache_control",
            "inference_geo",
            "context_management",
            "betas",
        }
    )

    model: Any = None
    messages: list[Json]
    max_tokens: Any = None
    system: str | list[Json] | None = None
    stop_sequences: list[Any] | None = None
    stream: Any = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    tools: list[Json] | None = None
    tool_choice: Json | None = None
    thinking: Json | None = None
    output_config: Json | None = None
    output_format: Json | None = None


def to_chat(
    body: MessagesRequest, *, counts: bool, has_switch: bool, takes_budget: bool = False
) -> Json:
    """The body of a chat.

    Args:
        counts: tokens are to be counted, and nothing is generated.
        has_switch: the model's template can switch reasoning on and off.
        takes_budget: the model's reasoning can be given a budget.

    Raises:
        ApiError: a part that is no text, or a field of another kind than documented.
    """
    if not counts and body.max_tokens is None:
        raise bad_request("max_tokens: This field is required.", param="max_tokens")
    chat: Json = {name: getattr(body, name) for name in _SAME}
    chat["messages"] = [*_system(body.system), *_messages(body.messages)]
    if body.stop_sequences:
        chat["stop"] = body.stop_sequences
    if body.tools:
        chat["tools"] = [_tool(tool, index) for index, tool in enumerate(body.tools)]
        chat.update(_tool_choice(body.tool_choice or {}))
    if body.thinking and has_switch:
        chat["enable_thinking"] = body.thinking.get("type") != "disabled"
    if takes_budget and not counts and (body.thinking or {}).get("type") == "enabled":
        chat["thinking_token_budget"] = (body.thinking or {}).get("budget_tokens")
    if asked := body.output_format or (body.output_config or {}).get("format"):
        chat["response_format"] = _response_format(asked)
    if body.messages and body.messages[-1].get("role") == "assistant":
        chat["continue_final_message"] = True
    return {name: value for name, value in chat.items() if value is not None}


def _system(given: str | list[Json] | None) -> list[Json]:
    if not given:
        return []
    return [{"role": "system", "content": _text(given, "system")}]


def _messages(given: list[Json]) -> Iterator[Json]:
    for index, message in enumerate(given):
        place = f"messages[{index}].content"
        content = message.get("content")
        if not isinstance(content, list):
            yield {"role": message.get("role"), "content": content}
        elif message.get("role") == "assistant":
            yield _answer(content, place)
        else:
            yield from _question(content, str(message.get("role")), place)


def _question(blocks: list[Any], role: str, place: str) -> Iterator[Json]:
    """Results of tools first, as they come; what else is said behind them."""
    said = []
    for index, block in enumerate(blocks):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "tool_result":
            where = f"{place}[{index}].content"
            content = _text(block.get("content") or "", where)
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content}
        else:
            said.append(_block_text(block, f"{place}[{index}]"))
    if said:
        yield {"role": role, "content": [{"type": "text", "text": text} for text in said]}


def _answer(blocks: list[Any], place: str) -> Json:
    message: Json = {"role": "assistant"}
    texts, thoughts, calls = [], [], []
    for index, block in enumerate(blocks):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind in _THOUGHTS:
            thoughts.append(str(block.get("thinking") or ""))
        elif kind == "tool_use":
            arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        else:
            texts.append(_block_text(block, f"{place}[{index}]"))
    message["content"] = "".join(texts)
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _text(given: str | list[Any], place: str) -> str:
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise bad_request(f"{place}: Input should be a text or a list of blocks.", param=place)
    return "\n".join(_block_text(block, f"{place}[{i}]") for i, block in enumerate(given))


def _block_text(block: Any, place: str) -> str:
    if isinstance(block, str):
        return block
    if not isinstance(block, dict) or block.get("type") not in _TEXTS:
        raise bad_request(
            "Only text is supported in messages: send blocks of type 'text'.",
            param=place,
            code="not_supported",
        )
    if not isinstance(block.get("text"), str):
        raise bad_request(f"{place}.text: Input should be a text.", param=f"{place}.text")
    return str(block["text"])


def _tool(tool: Json, index: int) -> Json:
    if tool.get("type", "custom") != "custom":
        raise bad_request(
            f"tools[{index}]: this server runs no tools of its own: send tools with input_schema.",
            param=f"tools[{index}].type",
            code="not_supported",
        )
    function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
    for name in ("description", "strict"):
        if name in tool:
            function[name] = tool[name]
    return {"type": "function", "function": function}


def _tool_choice(choice: Json) -> Json:
    kinds: dict[Any, Any] = {None: None, "auto": "auto", "any": "required", "none": "none"}
    kind = choice.get("type")
    if kind == "tool":
        asked: Any = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind in kinds:
        asked = kinds[kind]
    else:
        raise bad_request(
            "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'.",
            param="tool_choice.type",
        )
    is_single = choice.get("disable_parallel_tool_use") is True
    return {"tool_choice": asked, "parallel_tool_calls": False if is_single else None}


def _response_format(given: Json) -> Json:
    kind: Literal["json_schema"] = "json_schema"
    if given.get("type") != kind:
        raise bad_request(
            "output_format.type: Input should be 'json_schema'.", param="output_format"
        )
    return {"type": kind, kind: {"name": "answer", "schema": given.get("schema")}}
