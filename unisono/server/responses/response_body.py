"""Bodies of ``/v1/responses``: their fields, and those that this server refuses.

Knows fields; ``chat_body.py`` makes chats of them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from unisono.server.api_error import bad_request, not_supported
from unisono.server.openai.body_model import Body, WholeNumber
from unisono.server.openai.known_fields import NO_EFFECT
from unisono.server.openai.message_schema import Text

Json = dict[str, Any]
_Key = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=512)]
_MAX_METADATA = 16
SAME = (
    *("model", "stream", "temperature", "top_p", "parallel_tool_calls", "top_k", "min_p", "seed"),
    *("stop", "stop_token_ids", "presence_penalty", "frequency_penalty", "repetition_penalty"),
    *("logit_bias", "allowed_token_ids", "min_tokens", "ignore_eos", "skip_special_tokens"),
    *("include_stop_str_in_output", "cache_salt", "priority", "chat_template_kwargs"),
    *("enable_thinking", "thinking_token_budget"),
)
"""Fields that a chat has too, and that are checked there."""
_INCLUDABLE = frozenset(
    {
        *("message.output_text.logprobs", "reasoning.encrypted_content"),
        *("web_search_call.action.sources", "web_search_call.results", "file_search_call.results"),
        *("code_interpreter_call.outputs", "computer_call_output.output.image_url"),
        "message.input_image.image_url",
    }
)
_REFUSED: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "background": ("Answering in the background", (False,), "Stream the response instead."),
    "background_options": ("Answering in the background", ({},), ""),
    "conversation": ("A conversation object", ("",), "Send previous_response_id instead."),
    "prompt": ("A prompt template", ({},), "Send instructions and input instead."),
    "moderation": ("Moderation", (), ""),
    "context_management": ("Compacting a conversation", ([],), ""),
    "truncation": ("Dropping items of a long conversation", ("disabled",), "Shorten the input."),
}
"""Field -> its feature, the values that ask for nothing, what to do instead."""


class ResponsesRequest(Body):
    """Body of ``POST /v1/responses``. Values that a chat has too are checked there."""

    without_effect: ClassVar[frozenset[str]] = NO_EFFECT | {
        *("stream_options", "max_tool_calls", "access_programs", "image"),
    }

    model: Any = None
    input: str | list[Any] | None = None
    instructions: Text | None = None
    previous_response_id: Annotated[str, Field(max_length=256)] | None = None
    store: bool | None = None
    metadata: Annotated[dict[_Key, _Value], Field(max_length=_MAX_METADATA)] | None = None
    user: Annotated[str, Field(max_length=1024)] | None = None
    safety_identifier: Annotated[str, Field(max_length=1024)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=1024)] | None = None
    include: Annotated[list[str], Field(max_length=32)] | None = None
    max_output_tokens: Any = None
    top_logprobs: Annotated[WholeNumber, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Json], Field(max_length=128)] | None = None
    tool_choice: str | Json | None = None
    reasoning: Json | None = None
    text: Json | None = None
    stream: Any = None
    temperature: Any = None
    top_p: Any = None
    parallel_tool_calls: Any = None
    top_k: Any = None
    min_p: Any = None
    seed: Any = None
    stop: Any = None
    stop_token_ids: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    repetition_penalty: Any = None
    logit_bias: Any = None
    allowed_token_ids: Any = None
    min_tokens: Any = None
    ignore_eos: Any = None
    skip_special_tokens: Any = None
    include_stop_str_in_output: Any = None
    cache_salt: Any = None
    priority: Any = None
    chat_template_kwargs: Any = None
    enable_thinking: Any = None
    thinking_token_budget: Any = None
    background: Any = None
    background_options: Any = None
    conversation: Any = None
    prompt: Any = None
    moderation: Any = None
    context_management: Any = None
    truncation: Any = None

    @property
    def shows_logprobs(self) -> bool:
        return bool(self.top_logprobs) or "message.output_text.logprobs" in (self.include or ())

    @property
    def is_stored(self) -> bool:
        """Without a word it is, as with OpenAI."""
        return self.store is not False


def check_features(body: ResponsesRequest) -> None:
    """Raises:
    ApiError: a field asks for what this server does not do.
    """
    for name, (feature, idle, hint) in _REFUSED.items():
        value = getattr(body, name)
        if value is not None and value not in idle:
            raise not_supported(feature, name, hint)
    for index, name in enumerate(body.include or ()):
        if name not in _INCLUDABLE:
            message = "include: there is no such thing to include in a response."
            raise bad_request(message, param=f"include[{index}]")
