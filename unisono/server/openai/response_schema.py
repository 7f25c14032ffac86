"""Response bodies of the routes, for ``/openapi.json`` and its readers.

Responses are put together by hand (``chat.py``, ``completions.py``); a test holds the two together.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

FinishReason = Literal["stop", "length", "tool_calls"]


class Exact(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ErrorDetail(Exact):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(Exact):
    error: ErrorDetail


class PromptTokensDetails(Exact):
    cached_tokens: int


class CompletionTokensDetails(Exact):
    reasoning_tokens: int
    accepted_prediction_tokens: int
    """Tokens of the answer that had been drafted."""
    rejected_prediction_tokens: int


class UsageObject(Exact):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class PromptLogprob(Exact):
    logprob: float
    rank: int
    decoded_token: str


PromptLogprobs = list[dict[str, PromptLogprob] | None]


class TopLogprob(Exact):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Exact):
    content: list[TokenLogprobs]
    refusal: None


class CalledFunction(Exact):
    name: str
    arguments: str
    """JSON text, as the model wrote it."""


class MessageToolCall(Exact):
    id: str
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(Exact):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str = ""
    reasoning: str = ""
    tool_calls: list[MessageToolCall] = []


class ChatChoice(Exact):
    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    token_ids: list[int] = []


class ChatCompletion(Exact):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageObject
    prompt_logprobs: PromptLogprobs = []
    prompt_token_ids: list[int] = []


class CompletionLogprobs(Exact):
    text_offset: list[int]
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]


class CompletionChoice(Exact):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason
    prompt_logprobs: PromptLogprobs = []
    token_ids: list[int] = []
    prompt_token_ids: list[int] = []


class Completion(Exact):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: UsageObject


class ModelPermission(Exact):
    """Permissions of a model, which OpenAI's older clients read."""

    id: str
    object: Literal["model_permission"] = "model_permission"
    created: int
    allow_create_engine: bool = False
    allow_sampling: bool = True
    allow_logprobs: bool = True
    allow_search_indices: bool = False
    allow_view: bool = True
    allow_fine_tuning: bool = False
    organization: str = "*"
    group: str | None = None
    is_blocking: bool = False


class ModelCard(Exact):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "unisono"
    root: str
    """The model's own name, whatever it is served as."""
    parent: str | None = None
    permission: list[ModelPermission]
    max_model_len: int
    default_sampling_params: dict[str, int | float]
    """Defaults of a request; fields not in it are neutral."""


class ModelList(Exact):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class TokenIds(Exact):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class TokenText(Exact):
    prompt: str


class TokenizerInfo(Exact):
    bos_token: str | None
    eos_token: str | None
    chat_template: str | None
    model_max_length: int


class Version(Exact):
    version: str


class Health(Exact):
    status: Literal["ok", "starting", "restarting", "draining", "stopped"]
