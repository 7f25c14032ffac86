"""A conversation rendered by us and by transformers: a text, or ``REFUSED``."""

from __future__ import annotations

import copy
import json
from typing import Any

from unisono.core.errors import InvalidRequestError

REFUSED = "refused"


def ours(render: Any, conversation: dict[str, Any]) -> str:
    """``render``: of a tokenizer or a chat template."""
    options = {"tools": None, "add_generation_prompt": True, "template_kwargs": None}
    try:
        return render(documents=None, continue_final_message=False, **{**options, **conversation})
    except InvalidRequestError:
        return REFUSED


def theirs(oracle: Any, conversation: dict[str, Any]) -> str:
    """A template that fails over tool calls with objects is given them as JSON text: that is the
    one thing that we allow and transformers does not."""
    for given in (conversation, with_text_arguments(conversation)):
        options = {"add_generation_prompt": True, "template_kwargs": {}, **given}
        kwargs = options.pop("template_kwargs")
        try:
            return oracle.apply_chat_template(
                options.pop("messages"),
                options.pop("tools", None),
                tokenize=False,
                **options,
                **kwargs,
            )
        except Exception:  # a template may fail over anything
            continue
    return REFUSED


def with_text_arguments(conversation: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(conversation)
    for message in changed["messages"]:
        for call in message.get("tool_calls", []):
            arguments = call["function"]["arguments"]
            call["function"]["arguments"] = json.dumps(arguments, ensure_ascii=False)
    return changed
