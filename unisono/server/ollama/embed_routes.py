"""Ollama's routes that embed: the new one, and the one for a single prompt.

Knows the shape of bodies and responses; the work is elsewhere (``pooling/starting.py``).
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unisono.server.error_shape import answers_in
from unisono.server.ollama.chat_body import in_own_words
from unisono.server.ollama.embed_body import OllamaEmbed, OllamaEmbeddings
from unisono.server.ollama.ollama_response import OLLAMA_ERRORS, Embedding, Embeddings, error_shape
from unisono.server.openai.openapi import describe_body
from unisono.server.openai.streaming import to_json
from unisono.server.openai.validation import read_body, validate
from unisono.server.pooling.body_schema import EmbeddingRequest
from unisono.server.pooling.pooled_routes import digits, one_by_one
from unisono.server.pooling.starting import Embedded, embed
from unisono.server.service import Service

router = APIRouter()
Json = dict[str, Any]


@router.post(
    "/api/embed",
    response_model=Embeddings,
    responses=OLLAMA_ERRORS,
    openapi_extra=describe_body(OllamaEmbed),
)
@answers_in(error_shape)
async def create_embeddings(request: Request) -> Response:
    """A vector for each text, by Ollama's API."""
    began_ns = time.monotonic_ns()
    name, found = await _embedded(request, OllamaEmbed)
    head = {
        "model": name,
        "total_duration": time.monotonic_ns() - began_ns,
        "load_duration": 0,
        "prompt_eval_count": found.num_tokens,
    }
    vectors = ",".join(map(digits, found.vectors))
    return _json(f'{to_json(head)[:-1]},"embeddings":[{vectors}]}}')


@router.post(
    "/api/embeddings",
    response_model=Embedding,
    responses=OLLAMA_ERRORS,
    openapi_extra=describe_body(OllamaEmbeddings),
)
@answers_in(error_shape)
async def create_embedding(request: Request) -> Response:
    """The vector of one prompt, by Ollama's API."""
    _, found = await _embedded(request, OllamaEmbeddings)
    return _json(f'{{"embedding":{digits(found.vectors[0])}}}')


async def _embedded(
    request: Request, model: type[OllamaEmbed] | type[OllamaEmbeddings]
) -> tuple[str, Embedded]:
    """The model's name, as the client calls it, and the vectors."""
    service: Service = request.app.state.service

    def read(value: Json) -> tuple[str | None, EmbeddingRequest]:
        given = read_body(value, model, service.unknown_fields)
        return given.model, validate(given.as_openai(), EmbeddingRequest, service.unknown_fields)

    try:
        asked, body = await service.bodies.read(request, read)
        service.check_model(body.model)
        inputs = one_by_one(body.input)
        name = service.head("embd", body.model)["id"]
        found = await embed(request, body, inputs, name=name, dimensions=body.dimensions)
    except Exception as error:
        raise in_own_words(error) from error
    return asked or service.settings.model_name, found


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")
