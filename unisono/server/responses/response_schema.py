"""Response bodies of the routes of responses, for ``/openapi.json`` and its readers.

Responses are put together by hand (``response_object.py``, ``output_items.py``); a test holds the
two together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from unisono.server.openai.response_schema import Exact, TokenLogprobs

Status = Literal["in_progress", "completed", "incomplete"]


class OutputText(Exact):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprobs]


class ReasoningText(Exact):
    type: Literal["reasoning_text"]
    text: str


class OutputMessage(Exact):
    id: str
    type: Literal["message"]
    status: Status
    role: Literal["assistant"]
    content: list[OutputText]


class ReasoningItem(Exact):
    id: str
    type: Literal["reasoning"]
    status: Status
    summary: list[Any]
    content: list[ReasoningText]


class FunctionCallItem(Exact):
    id: str
    type: Literal["function_call"]
    status: Status
    call_id: str
    name: str
    arguments: str


OutputItem = Annotated[
    OutputMessage | ReasoningItem | FunctionCallItem, Field(discriminator="type")
]


class InputTokensDetails(Exact):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(Exact):
    reasoning_tokens: int


class ResponseUsage(Exact):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseFailure(Exact):
    code: str
    message: str


class IncompleteDetails(Exact):
    reason: Literal["max_output_tokens"]


class ReasoningOptions(Exact):
    effort: str | None
    summary: None


class TextOptions(Exact):
    format: dict[str, Any]


class ResponseObject(Exact):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: Literal[False]
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ReasoningOptions
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: TextOptions
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: str | None


class DeletedResponse(Exact):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ItemList(Exact):
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


class InputTokens(Exact):
    object: Literal["response.input_tokens"]
    input_tokens: int
