"""Text and conversations to token ids, away from the event loop.

Knows request bodies and the tokenizer; nothing of engines or responses.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from unisono.server.api_error import bad_request
from unisono.server.message_schema import ChatMessage, ToolCall
from unisono.server.request_schema import ChatRequest, CompletionRequest, TokenizeRequest
from unisono.server.settings import Limits
from unisono.text import Tokenizer

__all__ = ["Prompt", "PromptEncoder"]

_NUM_THREADS = 2
T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """``text`` is what the client wrote, where it wrote text."""

    token_ids: tuple[int, ...]
    text: str | None = None

    def cut_to(self, token_ids: Sequence[int]) -> Prompt:
        """The same, or what was left of it: no longer what the client wrote."""
        return self if len(token_ids) == len(self.token_ids) else Prompt(tuple(token_ids))


class PromptEncoder:
    """Few threads, so that long prompts wait for one another and not everyone for them."""

    def __init__(self, tokenizer: Tokenizer, limits: Limits) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="tokenize")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def text(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return await self._in_thread(
            lambda: self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        )

    async def decode(self, token_ids: list[int]) -> str:
        return await self._in_thread(
            lambda: self._tokenizer.decode(token_ids, skip_special_tokens=False)
        )

    async def chat(self, body: ChatRequest | TokenizeRequest) -> list[int]:
        """Raises:
        ApiError, InvalidRequestError: messages that this server or the template refuses.
        """
        messages = body.messages or []
        if len(messages) > self._limits.messages:
            message = f"A chat has at most {self._limits.messages} messages on this server."
            raise bad_request(message, param="messages")
        plain = [_plain_message(message) for message in messages]
        continues = bool(body.continue_final_message)
        generation_prompt = body.add_generation_prompt
        if generation_prompt is None:
            generation_prompt = not continues
        documents = [one.model_dump(exclude_unset=True) for one in body.documents or ()] or None
        return await self._in_thread(
            lambda: self._tokenizer.encode_chat(
                plain,
                tools=_plain_tools(body),
                documents=documents,
                add_generation_prompt=generation_prompt,
                continue_final_message=continues,
                template_kwargs=_without_null(body.chat_template_kwargs or {}),
            )
        )

    async def completion(self, body: CompletionRequest) -> list[Prompt]:
        """Raises:
        ApiError, InvalidRequestError: an empty prompt, or more prompts than allowed.
        """
        given = _one_by_one(body.prompt)
        if len(given) > self._limits.prompts:
            message = f"At most {self._limits.prompts} prompts in one request on this server."
            raise bad_request(message, param="prompt")
        special = body.add_special_tokens is not False
        return [await self._prompt(one, add_special_tokens=special) for one in given]

    async def _prompt(self, given: str | list[int], *, add_special_tokens: bool) -> Prompt:
        if not isinstance(given, str):
            return Prompt(tuple(given))
        token_ids = await self.text(given, add_special_tokens=add_special_tokens)
        if not token_ids:
            raise bad_request("The prompt is empty: send at least one token.", param="prompt")
        return Prompt(tuple(token_ids), given)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _one_by_one(given: str | list[str] | list[int] | list[list[int]]) -> list[str | list[int]]:
    """The four forms of ``prompt`` as one: a list of texts or token ids."""
    if isinstance(given, str) or isinstance(given[0], int):
        return [given]
    return cast("list[str | list[int]]", given)


def _without_null(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _plain_tools(body: ChatRequest | TokenizeRequest) -> list[dict[str, Any]] | None:
    """Without a tool there are none: templates tell an empty list from that."""
    return [tool.model_dump(exclude_unset=True) for tool in body.tools or ()] or None


def _plain_message(message: ChatMessage) -> dict[str, Any]:
    """The message as chat templates expect it: arguments as an object. A tool may say nothing."""
    content: str | list[str] | None = "" if message.role == "tool" else None
    if message.content is not None:
        given = message.content
        content = given if isinstance(given, str) else [part.text for part in given]
    plain: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": content or message.refusal or content,
    }
    for name in ("name", "tool_call_id"):
        if (value := getattr(message, name)) is not None:
            plain[name] = value
    if reasoning := message.reasoning_content or message.reasoning:
        plain["reasoning_content"] = reasoning
    if message.tool_calls:
        plain["tool_calls"] = [_plain_call(call) for call in message.tool_calls]
    return plain


def _plain_call(call: ToolCall) -> dict[str, Any]:
    arguments = call.function.arguments
    if not isinstance(arguments, dict):
        arguments = _parsed(arguments or "{}")
    plain = {"type": "function", "function": {"name": call.function.name, "arguments": arguments}}
    return plain if call.id is None else {"id": call.id, **plain}


def _parsed(arguments: str) -> Any:
    """The object that the text says; the text itself where a model has written none."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments
