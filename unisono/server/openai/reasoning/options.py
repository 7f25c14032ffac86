"""A chat's fields of reasoning, said in those that a prompt and its sampling read."""

from __future__ import annotations

from unisono.server.api_error import bad_request
from unisono.server.openai.reasoning.fields import plain_reasoning
from unisono.server.openai.request_schema import ChatRequest
from unisono.text.parsers.reading import AnswerReader
from unisono.text.tokenizer import Tokenizer


def with_plain_reasoning(
    body: ChatRequest, reader: AnswerReader, tokenizer: Tokenizer
) -> ChatRequest:
    """The same body, with fields of one spelling alone.

    Raises:
        ApiError: fields that contradict each other.
    """
    said = plain_reasoning(body)
    for name, value in list(said.items()):
        own = getattr(body, name)
        if own not in (None, value) and name != "thinking_token_budget":
            raise bad_request(f"{name} says something else than another field.", param=name)
    always_thinks = reader.format.thinking is not None and not any(
        map(tokenizer.template_reads, ("enable_thinking", "thinking"))
    )
    if said.get("enable_thinking") and always_thinks:
        del said["enable_thinking"]
    return body.model_copy(update=said) if said else body
