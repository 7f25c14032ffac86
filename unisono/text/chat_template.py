"""A model's chat templates: which one, with which variables, and where its text ends.

Knows the conventions that transformers set for templates; the rendering itself is done by
``template_process``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from unisono.core.errors import CheckpointError, InvalidRequestError
from unisono.text.template_process import TemplateFailedError, TemplateLimits, TemplateProcess

__all__ = ["ChatTemplate", "kept_text"]

_CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "
_REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
_MAX_KWARGS = 32
_MAX_KWARG_LENGTH = 4096
_KWARG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RESERVED = frozenset(
    {
        *("messages", "conversation", "tools", "documents", "chat_template"),
        *("add_generation_prompt", "continue_final_message"),
        *("raise_exception", "strftime_now", "range", "dict", "namespace"),
        *("lipsum", "cycler", "joiner", "loop", "self", "super", "caller", "varargs", "kwargs"),
        *("true", "false", "none", "True", "False", "None"),
    }
)


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
        self._templates = dict(templates)
        self._variables = dict(variables)
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

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None,
        documents: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        continue_final_message: bool,
        template_kwargs: Mapping[str, Any] | None,
    ) -> str:
        """As ``Tokenizer.render_chat`` says."""
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
        own = self._check_kwargs(template_kwargs or {})
        chat = _prepare(messages)
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
        """A template that fails over tool calls whose arguments are objects may want them as text:
        the field's templates do not agree on that, and most take objects."""
        renderer = self._renderers[name]
        try:
            return renderer.render(variables)
        except TemplateFailedError:
            chat = _with_text_arguments(variables["messages"])
            if chat == variables["messages"]:
                raise
            with suppress(InvalidRequestError):
                return renderer.render({**variables, "messages": chat})
            raise

    def _choose(self, has_tools: bool) -> str:
        if has_tools and "tool_use" in self._templates:
            return "tool_use"
        if "default" in self._templates:
            return "default"
        if not self._templates:
            raise InvalidRequestError(
                "This model has no chat template.", hint="Use plain completion instead."
            )
        raise CheckpointError(
            f"None of the model's chat templates ({', '.join(sorted(self._templates))}) is named "
            "default.",
            hint="Save the one to use as chat_template.jinja in the model folder.",
        )

    def _check_kwargs(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(kwargs, Mapping) or len(kwargs) > _MAX_KWARGS:
            raise _bad_kwargs(f"takes at most {_MAX_KWARGS} named values")
        for name, value in kwargs.items():
            if not isinstance(name, str) or not _KWARG_NAME.fullmatch(name):
                raise _bad_kwargs("takes names of letters, digits and underscores")
            if name in _RESERVED or name in self._variables or name.endswith("_token"):
                raise _bad_kwargs(f"cannot set {name}")
            if not _is_simple(value):
                raise _bad_kwargs(
                    f"takes numbers, texts of up to {_MAX_KWARG_LENGTH} characters, true, false, "
                    f"null, and lists of these; {name} is something else"
                )
        return dict(kwargs)


def kept_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """What users, systems and tools say, one behind the other: templates leave none of it out,
    while they may leave out what an assistant thought."""
    return "".join(
        text.strip()
        for message in messages
        if isinstance(message, Mapping) and message.get("role") != "assistant"
        for text in _texts(message.get("content"))
    )


def _texts(content: Any) -> list[str]:
    parts = content if isinstance(content, (list, tuple)) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return [text for text in texts if isinstance(text, str)]


def _prepare(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fresh messages without empty fields; reasoning goes by every name that templates know."""
    if not _are_objects(messages) or not messages:
        raise InvalidRequestError(
            "messages must be a list of at least one object.", param="messages"
        )
    chat = []
    for message in messages:
        fresh = {key: value for key, value in message.items() if value is not None}
        given = [fresh[key] for key in _REASONING_FIELDS if key in fresh]
        if given:
            fresh = {"thinking": given[0], **fresh, "reasoning_content": given[0]}
        chat.append(fresh)
    return chat


def _with_text_arguments(chat: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the arguments of tool calls as JSON text."""
    return [
        {**message, "tool_calls": [_with_text_argument(call) for call in calls]}
        if isinstance(calls := message.get("tool_calls"), Sequence) and not isinstance(calls, str)
        else dict(message)
        for message in chat
    ]


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


def _is_simple(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _MAX_KWARG_LENGTH and all(map(_is_scalar, value))
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_KWARG_LENGTH
    return value is None or isinstance(value, (bool, int, float))


def _bad_kwargs(message: str) -> InvalidRequestError:
    return InvalidRequestError(f"template_kwargs {message}.", param="template_kwargs")
