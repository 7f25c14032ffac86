"""Additions to ``/openapi.json`` beyond what FastAPI finds by itself.

Bodies are checked by ``validation.py``, so their schemas are written here from the same
models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from unisono.server.anthropic.message_body import MessagesRequest
from unisono.server.batches.batch_schema import BatchRequest
from unisono.server.ollama.embed_body import OllamaEmbed, OllamaEmbeddings
from unisono.server.ollama.ollama_body import OllamaChat, OllamaGenerate, OllamaShow
from unisono.server.openai.adapter_schema import LoadAdapterRequest, UnloadAdapterRequest
from unisono.server.openai.request_schema import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
)
from unisono.server.openai.response_schema import ErrorResponse
from unisono.server.pooling.body_schema import EmbeddingRequest, RerankRequest, ScoreRequest
from unisono.server.responses.response_body import ResponsesRequest

_BODIES: tuple[type[BaseModel], ...] = (
    MessagesRequest,
    ResponsesRequest,
    OllamaChat,
    OllamaGenerate,
    OllamaShow,
    OllamaEmbed,
    OllamaEmbeddings,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
    EmbeddingRequest,
    ScoreRequest,
    RerankRequest,
)
_OTHER_BODIES: tuple[type[BaseModel], ...] = (
    LoadAdapterRequest,
    UnloadAdapterRequest,
    BatchRequest,
)
"""Bodies that ask no model."""
_REFERENCE = "#/components/schemas/{model}"
_REASONS = {
    400: "The request is wrong; the message names the field.",
    401: "The API key is missing or unknown.",
    403: "A web page of a foreign origin, or a foreign Host.",
    404: "There is no such model.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body is compressed in a way that is not read here, or a web page's and no JSON.",
    429: "Too much to do; try again after Retry-After seconds.",
    431: "The headers are too large.",
    500: "The engine could not finish this request.",
    503: "The engine is being restarted, or the server shuts down.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": reason} for status, reason in _REASONS.items()
}


def describe_body(model: type[BaseModel]) -> dict[str, Any]:
    """``openapi_extra`` for a route whose body is ``model``."""
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_stream(
    model_name: str, media_type: str = "text/event-stream"
) -> dict[int | str, dict[str, Any]]:
    """The 200 response of a route that answers whole, or as events if the body says so."""
    whole = {"schema": {"$ref": _REFERENCE.format(model=model_name)}}
    events = {"schema": {"type": "string"}}
    content = {"application/json": whole, media_type: events}
    return {200: {"description": "The answer, or its events.", "content": content}}


def install_openapi(app: FastAPI, model_names: Callable[[], Sequence[str]]) -> None:
    """Makes ``app.openapi`` describe request bodies, the models served now and the key too."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        schemas = app.openapi_schema["components"]["schemas"]
        for model in _BODIES:
            schemas[model.__name__]["properties"]["model"]["enum"] = list(model_names())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in (*_BODIES, *_OTHER_BODIES):
        schema = model.model_json_schema(ref_template=_REFERENCE)
        schemas.update(schema.pop("$defs", {}))
        if model in _BODIES:
            schema["properties"]["model"] = {"type": "string"}
        schemas[model.__name__] = schema
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = [] if path == "/health" else [{"key": []}, {}]
    return document
