"""A model's chat templates: which one, with which variables, and where its text ends.

Knows the conventions that transformers set for templates; ``process.py`` renders them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypedDict

from unisono.core.errors import CheckpointError, InvalidRequestError
from unisono.text.templates.kwargs import check_kwargs
from unisono.text.templates.message_content import (
    ContentForm,
    find_form,
    read_content,
    write_content,
)
from unisono.text.templates.process import TemplateFailedError, TemplateLimits, TemplateProcess

_CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "
_REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
_PROBED_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_INSTRUCTING_ROLES = frozenset({"system", "developer"})
_SOME_TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "f",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}


class ChatOptions(TypedDict, total=False):
    """Options of a rendering beside its messages."""

    tools: Sequence[Mapping[str, Any]] | None
    """JSON descriptions of the functions the model may call."""
    documents: Sequence[Mapping[str, Any]] | None
    """Texts to answer from, mostly with ``title`` and ``text``."""
    add_generation_prompt: bool
    """End with the header of the next answer; so by default."""
    continue_final_message: bool
    """End inside the last message instead, for the model to go on."""
    template_kwargs: Mapping[str, Any] | None
    """Further variables of the template, as JSON data."""


class ChatTemplate:
    """Args:
    templates: by name; ``tool_use`` serves conversations with tools, ``default`` the others.
    variables: what every rendering sees besides the conversation, such as ``bos_token``.
    """

    def __init__(
        self,
        templates: Mapping[str, str],
        *,
        variables: Mapping[str, str],
        limits: TemplateLimits | None = None,
    ) -> None:
        self.templates = dict(templates)
        self._variables = dict(variables)
        self._forms: dict[tuple[str, str], ContentForm] = {}
        self._renderers = {
            name: TemplateProcess(template, limits) for name, template in templates.items()
        }

    def check(self) -> None:
        """Raises:
        CheckpointError: a template that conversations use does not compile.
        """
        for name in ("default", "tool_use"):
            if name in self._renderers:
                self._renderers[name].start()

    def reads(self, name: str) -> bool:
        """Returns whether one of the templates has the name in it."""
        word = re.compile(rf"\b{re.escape(name)}\b")
        return any(word.search(template) for template in self.templates.values())

    def has_role(self, role: str) -> bool:
        """Returns whether one of the templates has the role in quotes."""
        quoted = re.compile(rf"""(["']){re.escape(role)}\1""")
        return any(quoted.search(template) for template in self.templates.values())

    def check_all_is_said(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None,
        documents: Sequence[Mapping[str, Any]] | None,
    ) -> None:
        """Refuses what the template would drop in silence.

        Raises:
            InvalidRequestError: it reads no tools or documents, or no system message.
        """
        for given, what in ((tools, "tools"), (documents, "documents")):
            if given and not self.reads(what):
                raise InvalidRequestError(
                    f"A list of {what} is not supported: this model's chat template has none.",
                    param=what,
                    hint=f"Leave {what} out, or take a model that was trained with them.",
                )
        if not _are_objects(messages):
            return
        name = self._choose(tools is not None)
        for index, message in enumerate(messages):
            role = str(message.get("role"))
            is_silent = role not in _INSTRUCTING_ROLES or not message.get("content")
            if not is_silent and self._form(name, role) == "text, left out":
                raise _left_out(role, index)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Renders a conversation. The options are those of ``ChatOptions``; messages and errors are
        as of ``Tokenizer.render_chat``."""
        name = self._choose(tools is not None)
        if continue_final_message and add_generation_prompt:
            raise InvalidRequestError(
                "continue_final_message and add_generation_prompt exclude one another.",
                param="continue_final_message",
            )
        if tools is not None and not _are_objects(tools):
            raise InvalidRequestError("tools must be a list of objects.", param="tools")
        if documents is not None and not _are_objects(documents):
            raise InvalidRequestError("documents must be a list of objects.", param="documents")
        own = check_kwargs(template_kwargs or {}, frozenset(self._variables))
        chat = self._prepare(name, messages)
        final_text = _tag_final_message(chat) if continue_final_message else ""
        conversation = {
            "messages": chat,
            "tools": tools,
            "documents": documents,
            "add_generation_prompt": add_generation_prompt,
        }
        text = self._render(name, {**self._variables, **own, **conversation})
        return _cut_behind(final_text, text) if continue_final_message else text

    def _render(self, name: str, variables: Mapping[str, Any]) -> str:
        """A template that fails over a message without content, or over tool calls whose arguments
        are objects, may want an empty text, or arguments as text: the field's templates do not
        agree on that."""
        renderer = self._renderers[name]
        try:
            return renderer.render(variables)
        except TemplateFailedError:
            chat = _with_texts(variables["messages"])
            if chat == variables["messages"]:
                raise
            with suppress(InvalidRequestError):
                return renderer.render({**variables, "messages": chat})
            raise

    def _choose(self, has_tools: bool) -> str:
        if has_tools and "tool_use" in self.templates:
            return "tool_use"
        if "default" in self.templates:
            return "default"
        if not self.templates:
            raise InvalidRequestError(
                "This model has no chat template.", hint="Use plain completion instead."
            )
        raise CheckpointError(
            f"None of the model's chat templates ({', '.join(sorted(self.templates))}) is named "
            "default.",
            hint="Save the one to use as chat_template.jinja in the model folder.",
        )

    def _prepare(self, name: str, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Fresh messages without empty fields, each with content in the template's form; reasoning
        goes by every name that templates know."""
        if not _are_objects(messages) or not messages:
            raise InvalidRequestError(
                "messages must be a list of at least one object.", param="messages"
            )
        chat = []
        for index, message in enumerate(messages):
            fresh = {key: value for key, value in message.items() if value is not None}
            content = read_content(message, index)
            if content is not None:
                form = self._form(name, str(message.get("role")))
                fresh["content"] = write_content(content, form)
            given = [fresh[key] for key in _REASONING_FIELDS if key in fresh]
            if given:
                fresh = {"thinking": given[0], **fresh, "reasoning_content": given[0]}
            chat.append(fresh)
        return chat

    def _form(self, name: str, role: str) -> ContentForm:
        """The form of contents that a template takes; found at the first message of a role."""
        role = role if role in _PROBED_ROLES else "user"
        if (name, role) not in self._forms:

            def render(messages: Sequence[Mapping[str, Any]]) -> str | None:
                tools = [_SOME_TOOL] if name == "tool_use" else None
                own = {"messages": messages, "tools": tools, "documents": None}
                with suppress(InvalidRequestError):
                    return self._renderers[name].render(
                        {**self._variables, **own, "add_generation_prompt": False}
                    )
                return None

            self._forms[name, role] = find_form(role, render)
        return self._forms[name, role]


def _left_out(role: str, index: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"The model's chat template leaves out what a {role} message says.",
        param=f"messages[{index}].role",
        hint="Say it at the beginning of the first user message.",
    )


def _with_texts(chat: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages, each with content, with the arguments of tool calls as JSON text."""
    return [
        {
            **message,
            "content": message.get("content", ""),
            **({"tool_calls": [_with_text_argument(call) for call in calls]} if calls else {}),
        }
        for message in chat
        for calls in [_calls(message)]
    ]


def _calls(message: Mapping[str, Any]) -> Sequence[Any]:
    calls = message.get("tool_calls")
    return calls if isinstance(calls, (list, tuple)) else ()


def _with_text_argument(call: Any) -> Any:
    if not isinstance(call, Mapping) or not isinstance(function := call.get("function"), Mapping):
        return call
    arguments = function.get("arguments")
    if not isinstance(arguments, Mapping):
        return call
    text = json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


def _are_objects(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and all(isinstance(item, Mapping) for item in values)


def _tag_final_message(chat: list[dict[str, Any]]) -> str:
    """Puts a tag behind the last message's text and returns that text."""
    content = chat[-1].get("content")
    if isinstance(content, str):
        chat[-1]["content"] = content + _CONTINUE_TAG
        return content
    if isinstance(content, Sequence):
        blocks = list(content)
        for index in reversed(range(len(blocks))):
            block = blocks[index]
            if isinstance(block, Mapping) and isinstance(block.get("text"), str):
                blocks[index] = {**block, "text": block["text"] + _CONTINUE_TAG}
                chat[-1]["content"] = blocks
                return str(block["text"])
    raise InvalidRequestError("The last message has no text to continue.", param="messages")


def _cut_behind(final_text: str, rendered: str) -> str:
    """``rendered`` up to the tag, and without the white space that the template trimmed."""
    tag = _CONTINUE_TAG.strip()
    at = rendered.rfind(tag)
    if at < 0 or final_text.strip() not in rendered:
        raise InvalidRequestError(
            "The model's chat template does not keep the last message as it is, so it cannot be "
            "continued.",
            param="continue_final_message",
        )
    is_whole = rendered.startswith(_CONTINUE_TAG, at)
    return rendered[:at] if is_whole else rendered[:at].rstrip()
