"""Ollama's routes that generate: chat and generate.

Knows the order of work; shapes and limits are elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unisono.server.api_error import ApiError
from unisono.server.error_shape import answers_in
from unisono.server.ollama.chat_body import (
    Thinking,
    in_own_words,
    prompt_to_chat,
    to_chat,
    to_completion,
)
from unisono.server.ollama.line_renderer import LineRenderer, loaded
from unisono.server.ollama.ollama_body import OllamaBody, OllamaChat, OllamaGenerate, model_name
from unisono.server.ollama.ollama_response import OLLAMA_ERRORS, ChatLine, GenerateLine, error_shape
from unisono.server.openai.generation import Generation
from unisono.server.openai.openapi import describe_body, describe_stream
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest, RouteBody
from unisono.server.openai.starting import start_chat, start_completion
from unisono.server.openai.streaming import fold, respond, to_json
from unisono.server.openai.validation import read_body, validate
from unisono.server.service import Service

router = APIRouter()
Json = dict[str, Any]
Given = TypeVar("Given", bound=OllamaBody)
_NDJSON = "application/x-ndjson"


@router.post(
    "/api/chat",
    response_model=ChatLine,
    responses={**OLLAMA_ERRORS, **describe_stream("ChatLine", _NDJSON)},
    openapi_extra=describe_body(OllamaChat),
)
@answers_in(error_shape)
async def chat(request: Request) -> Response:
    """Answers a conversation, by Ollama's API."""
    began_ns = time.monotonic_ns()
    service: Service = request.app.state.service

    def convert(body: OllamaChat) -> RouteBody | None:
        chat = to_chat(body, _thinking(service))
        return _checked(service, chat, ChatRequest) if body.messages else None

    body, chat_body = await _read(request, OllamaChat, convert)
    return await _answer(request, body, chat_body, began_ns, is_chat=True)


@router.post(
    "/api/generate",
    response_model=GenerateLine,
    responses={**OLLAMA_ERRORS, **describe_stream("GenerateLine", _NDJSON)},
    openapi_extra=describe_body(OllamaGenerate),
)
@answers_in(error_shape)
async def generate(request: Request) -> Response:
    """Answers a prompt, by Ollama's API."""
    began_ns = time.monotonic_ns()
    service: Service = request.app.state.service

    def convert(body: OllamaGenerate) -> RouteBody | None:
        if not (body.prompt or body.suffix):
            return None
        if body.raw or body.suffix:
            completion = to_completion(body)
            return _checked(service, completion, CompletionRequest)
        chat = prompt_to_chat(body, _thinking(service))
        return _checked(service, chat, ChatRequest)

    body, given = await _read(request, OllamaGenerate, convert)
    return await _answer(request, body, given, began_ns, is_chat=False)


async def _read(
    request: Request, model: type[Given], convert: Callable[[Given], RouteBody | None]
) -> tuple[Given, RouteBody | None]:
    """The body, and what it becomes; nothing where it only wants the model to be loaded."""
    service: Service = request.app.state.service

    def read(value: Json) -> tuple[Given, RouteBody | None]:
        body = read_body(value, model, service.unknown_fields)
        return body, convert(body)

    try:
        body, given = await service.bodies.read(request, read)
        service.check_model(model_name(body.model))
    except ApiError as error:
        raise in_own_words(error) from error
    return body, given


async def _answer(
    request: Request, body: OllamaBody, given: RouteBody | None, began_ns: int, *, is_chat: bool
) -> Response:
    service: Service = request.app.state.service
    name = body.model or service.settings.model_name
    if given is None:
        return _loaded(body, name, is_chat=is_chat)
    try:
        generation = await _start(request, given)
    except Exception as error:
        raise in_own_words(error) from error
    renderer = LineRenderer(
        model=name,
        usage=generation.usage,
        tokenizer=service.tokenizer,
        is_chat=is_chat,
        began_ns=began_ns,
        shows_logprobs=bool(body.logprobs),
    )
    if body.streams:
        return await respond(generation, renderer, streams=True)
    await fold(generation, renderer.take)
    return Response(to_json(renderer.whole([])), media_type="application/json")


async def _start(request: Request, given: RouteBody) -> Generation:
    if isinstance(given, ChatRequest):
        return (await start_chat(request, given, kind="ollama")).generation
    assert isinstance(given, CompletionRequest)
    return (await start_completion(request, given, kind="ollama")).generation


def _loaded(body: OllamaBody, name: str, *, is_chat: bool) -> Response:
    if body.unloads:
        message = "This server keeps its model loaded: end the server to unload it."
        raise ApiError(400, message, param="keep_alive", code="not_supported")
    line = to_json(loaded(name, is_chat=is_chat)) + "\n"
    return Response(line, media_type=_NDJSON if body.streams else "application/json")


def _checked(service: Service, value: Json, model: Any) -> RouteBody:
    most = service.settings.limits.messages
    return validate(value, model, service.unknown_fields, most_messages=most)


def _thinking(service: Service) -> Thinking:
    has_switch = any(map(service.tokenizer.template_reads, ("enable_thinking", "thinking")))
    return Thinking(service.reader.format.thinking is not None, has_switch)
