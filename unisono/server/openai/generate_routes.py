"""The routes that generate: chat completions and plain completions.

Knows the order of work (check, tokenize, submit, stream); shapes and limits are elsewhere.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unisono import __version__
from unisono.server.openai.chat import ChatRenderer
from unisono.server.openai.completions import CompletionRenderer
from unisono.server.openai.openapi import ERRORS, describe_body, describe_stream
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest
from unisono.server.openai.response_schema import ChatCompletion, Completion
from unisono.server.openai.starting import start_chat, start_completion
from unisono.server.openai.streaming import respond
from unisono.server.service import Service

router = APIRouter()
_FINGERPRINT = {"system_fingerprint": f"unisono-{__version__}"}
"""The version that computed an answer: with another, the same seed may give another one."""


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses={**ERRORS, **describe_stream("ChatCompletion")},
    openapi_extra=describe_body(ChatRequest),
)
async def create_chat_completion(request: Request) -> Response:
    """Answers a conversation."""
    service: Service = request.app.state.service
    body = await service.read(request, ChatRequest)
    chat = await start_chat(request, body, kind="chatcmpl")
    renderer = ChatRenderer(
        tokenizer=service.tokenizer,
        body=body,
        head={**chat.head, **_FINGERPRINT},
        usage=chat.generation.usage,
        prompt_ids=chat.prompt_ids,
        num_answers=chat.generation.num_answers,
        shows_reasoning=chat.shows_reasoning,
    )
    return await respond(chat.generation, renderer, streams=bool(body.stream))


@router.post(
    "/v1/completions",
    response_model=Completion,
    responses={**ERRORS, **describe_stream("Completion")},
    openapi_extra=describe_body(CompletionRequest),
)
async def create_completion(request: Request) -> Response:
    """Goes on with one or several texts."""
    service: Service = request.app.state.service
    body = await service.read(request, CompletionRequest)
    started = await start_completion(request, body, kind="cmpl")
    renderer = CompletionRenderer(
        tokenizer=service.tokenizer,
        body=body,
        head={**started.head, **_FINGERPRINT},
        usage=started.generation.usage,
        prompts=started.prompts,
        num_answers_each=started.num_answers_each,
    )
    return await respond(started.generation, renderer, streams=bool(body.stream))
