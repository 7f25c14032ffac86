"""Response bodies of Ollama's routes, for ``/openapi.json`` and its readers.

Responses are put together by hand (``line_renderer.py``, ``model_facts.py``); a test holds the two
together.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from unisono.server.api_error import api_error
from unisono.server.openai.openapi import ERRORS
from unisono.server.openai.response_schema import ErrorResponse, Exact, TokenLogprobs


class OllamaError(Exact):
    error: str


class OllamaFunction(Exact):
    index: int
    name: str
    arguments: dict[str, Any]


class OllamaCall(Exact):
    id: str
    function: OllamaFunction


class OllamaMessage(Exact):
    role: Literal["assistant"]
    content: str
    thinking: str = ""
    tool_calls: list[OllamaCall] = Field(default_factory=list)


class Line(Exact):
    """A line of a stream, or all of an answer: durations are nanoseconds."""

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load"] = "stop"
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    logprobs: list[TokenLogprobs] = Field(default_factory=list)


class ChatLine(Line):
    message: OllamaMessage


class GenerateLine(Line):
    response: str
    thinking: str = ""


class Embeddings(Exact):
    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class Embedding(Exact):
    embedding: list[float]


class ModelDetails(Exact):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class KnownModel(Exact):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: ModelDetails


class LoadedModel(Exact):
    name: str
    model: str
    size: int
    digest: str
    details: ModelDetails
    expires_at: str
    size_vram: int
    context_length: int


class KnownModels(Exact):
    models: list[KnownModel]


class LoadedModels(Exact):
    models: list[LoadedModel]


class ShownModel(Exact):
    modelfile: str
    parameters: str
    template: str
    details: ModelDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


OLLAMA_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {**said, "model": OllamaError | ErrorResponse} for status, said in ERRORS.items()
}
"""The errors of both shapes: a request that no route has seen is refused in OpenAI's."""


def error_shape(error: BaseException) -> dict[str, Any]:
    """A response that is an error."""
    return {"error": api_error(error).message}
