"""Text and conversations to token ids, away from the event loop.

A prompt is refused by its length before it is tokenized. Long ones have threads of their own, so
that the others do not wait for them.

Knows request bodies and the tokenizer; nothing of engines or responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

from unisono.core.errors import ContextLengthError, InvalidRequestError
from unisono.server.api_error import bad_request, not_supported
from unisono.server.openai.message_schema import ROLES, ChatMessage
from unisono.server.openai.plain_messages import num_characters, plain_messages
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest, TokenizeRequest
from unisono.server.settings import Limits
from unisono.text.infill import Infill
from unisono.text.tokenizer import Tokenizer

_NUM_THREADS = 2
_LONG_CHARACTERS = 32 * 2**10
_MOST_CUT = 8
"""Contexts of text that are tokenized where a client lets its prompt be cut."""
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
    """Args:
    context: tells how many tokens a prompt may have.
    """

    def __init__(self, tokenizer: Tokenizer, limits: Limits, context: Callable[[], int]) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._context = context
        self._short = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="tokenize")
        self._long = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="tokenize-long")

    def close(self) -> None:
        for threads in (self._short, self._long):
            threads.shutdown(wait=False, cancel_futures=True)

    async def text(
        self, text: str, *, add_special_tokens: bool = True, is_cut: bool = False
    ) -> list[int]:
        """Args:
            is_cut: the client lets it be cut to the context.

        Raises:
            ContextLengthError: more tokens than the context holds.
        """

        def encode() -> list[int]:
            with self._length_errors("prompt", is_cut=is_cut):
                return self._tokenizer.encode(
                    text, add_special_tokens=add_special_tokens, max_tokens=self._most(is_cut)
                )

        return await self.in_thread(encode, len(text))

    def _most(self, is_cut: bool) -> int:
        return self._context() * (_MOST_CUT if is_cut else 1)

    @contextmanager
    def _length_errors(self, param: str, *, is_cut: bool) -> Iterator[None]:
        try:
            yield
        except ContextLengthError as error:
            if is_cut:
                raise
            raise self._too_long(param) from error

    def _too_long(self, param: str, num_tokens: int | None = None) -> ContextLengthError:
        has = "more" if num_tokens is None else str(num_tokens)
        return ContextLengthError(
            f"This model's maximum context length is {self._context()} tokens, answer included; "
            f"the prompt is too long: it has {has}.",
            param=param,
            hint="Shorten the prompt, or raise --max-model-len if the model allows it.",
        )

    async def decode(self, token_ids: list[int]) -> str:
        return await self.in_thread(
            lambda: self._tokenizer.decode(token_ids, skip_special_tokens=False), len(token_ids)
        )

    async def chat(self, body: ChatRequest | TokenizeRequest) -> list[int]:
        """Raises:
        ApiError, InvalidRequestError: messages that this server or the template refuses.
        """
        messages = body.messages or ()
        self._check_roles(messages)
        is_cut = getattr(body, "truncate_prompt_tokens", None) is not None
        continues = bool(body.continue_final_message)
        generation_prompt = body.add_generation_prompt
        if generation_prompt is None:
            generation_prompt = not continues
        variables = self._variables(body)
        tools = _plain_tools(body)
        documents = [one.model_dump(exclude_unset=True) for one in body.documents or ()] or None

        def encode() -> list[int]:
            with self._length_errors("messages", is_cut=is_cut):
                return self._tokenizer.encode_chat(
                    plain_messages(messages),
                    tools=tools,
                    documents=documents,
                    add_generation_prompt=generation_prompt,
                    continue_final_message=continues,
                    template_kwargs=variables,
                    max_tokens=self._most(is_cut),
                )

        try:
            return await self.in_thread(encode, sum(map(num_characters, messages)))
        except InvalidRequestError as error:
            if error.param in ("tools", "documents"):
                raise bad_request(str(error), param=error.param, code="not_supported") from error
            if error.param != "template_kwargs":
                raise
            where = "chat_template_kwargs"  # what clients call it
            raise bad_request(f"chat_{error}", param=where) from error

    def _check_roles(self, messages: Sequence[ChatMessage]) -> None:
        """A role that no template names is a slip, or its text would be lost in silence."""
        first = {message.role: index for index, message in reversed(list(enumerate(messages)))}
        for role, index in first.items():
            if role == "function":
                raise not_supported(
                    "The role of old function calls", f"messages[{index}].role", "Send role 'tool'."
                )
            if role not in ROLES and not self._tokenizer.template_has_role(role):
                raise bad_request(
                    "The role should be 'system', 'developer', 'user', 'assistant' or 'tool': this "
                    "model's chat template names no such other.",
                    param=f"messages[{index}].role",
                )

    def _variables(self, body: ChatRequest | TokenizeRequest) -> dict[str, Any]:
        """Variables of the template beside the conversation. An effort that no template reads would
        be dropped in silence."""
        given = {k: v for k, v in (body.chat_template_kwargs or {}).items() if v is not None}
        if body.enable_thinking is not None:
            given = {**self._switch(body.enable_thinking), **given}
        name = "reasoning_effort"
        if body.reasoning_effort is None:
            return given
        if body.reasoning_effort == "none" and not self._tokenizer.template_reads(name):
            return {**self._switch(False), **given}
        if not self._tokenizer.template_reads(name):
            hint = "This model's chat template has none."
            raise not_supported("Reasoning effort", name, hint)
        return {name: body.reasoning_effort, **given}

    def _switch(self, thinks: bool) -> dict[str, bool]:
        """The template's own variable that switches reasoning.

        Raises:
            ApiError: it has none.
        """
        for name in ("enable_thinking", "thinking"):
            if self._tokenizer.template_reads(name):
                return {name: thinks}
        hint = "This model's chat template has no switch for it."
        raise not_supported("Switching reasoning", "enable_thinking", hint)

    async def completion(self, body: CompletionRequest) -> list[Prompt]:
        """Raises:
        ApiError, InvalidRequestError: an empty prompt, or more prompts than allowed.
        """
        given = _one_by_one(body.prompt)
        if len(given) > self._limits.prompts:
            message = f"At most {self._limits.prompts} prompts in one request on this server."
            raise bad_request(message, param="prompt")
        special = body.add_special_tokens is not False
        if body.suffix:
            return [await self._infill(one, body, begins=special) for one in given]
        is_cut = body.truncate_prompt_tokens is not None
        return [await self._prompt(one, add_special_tokens=special, is_cut=is_cut) for one in given]

    async def _prompt(
        self, given: str | list[int], *, add_special_tokens: bool, is_cut: bool
    ) -> Prompt:
        if not isinstance(given, str):
            if len(given) > self._most(is_cut):
                raise self._too_long("prompt", len(given))
            return Prompt(tuple(given))
        token_ids = await self.text(given, add_special_tokens=add_special_tokens, is_cut=is_cut)
        if not token_ids:
            raise bad_request("The prompt is empty: send at least one token.", param="prompt")
        return Prompt(tuple(token_ids), given)

    async def _infill(
        self, given: str | list[int], body: CompletionRequest, *, begins: bool
    ) -> Prompt:
        infill, suffix = self.infill, body.suffix or ""
        if infill is None:
            hint = "This model's vocabulary has no tokens for it."
            raise not_supported("Filling in before a suffix", "suffix", hint)
        if not isinstance(given, str):
            raise bad_request("suffix needs a prompt that is a text.", param="suffix")
        for name in ("echo", "truncate_prompt_tokens"):
            if getattr(body, name):
                raise bad_request(f"suffix and {name} do not go together.", param="suffix")

        def encode() -> list[int]:
            with self._length_errors("prompt", is_cut=False):
                return infill.prompt(given, suffix, begins=begins, max_tokens=self._context())

        token_ids = await self.in_thread(encode, len(given) + len(suffix))
        if len(token_ids) > self._context():
            raise self._too_long("prompt", len(token_ids))
        return Prompt(tuple(token_ids), given)

    @cached_property
    def infill(self) -> Infill | None:
        """Prompts for what is between two texts, where the model has marks for them."""
        return Infill.of(self._tokenizer)

    async def in_thread(self, work: Callable[[], T], size: int) -> T:
        """``work`` away from the event loop; ``size`` is the number of characters or bytes."""
        threads = self._long if size > _LONG_CHARACTERS else self._short
        return await asyncio.get_running_loop().run_in_executor(threads, work)


def _one_by_one(given: str | list[str] | list[int] | list[list[int]]) -> list[str | list[int]]:
    """The four forms of ``prompt`` as one: a list of texts or token ids."""
    if isinstance(given, str) or isinstance(given[0], int):
        return [given]
    return cast("list[str | list[int]]", given)


def _plain_tools(body: ChatRequest | TokenizeRequest) -> list[dict[str, Any]] | None:
    """Without a tool there are none: templates tell an empty list from that."""
    return [tool.model_dump(exclude_unset=True) for tool in body.tools or ()] or None
