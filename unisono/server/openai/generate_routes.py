"""The routes that generate: chat completions and plain completions.

Knows the order of work (check, tokenize, submit, stream); shapes and limits are elsewhere.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unisono.server.openai.chat import ChatRenderer
from unisono.server.openai.completions import CompletionRenderer
from unisono.server.openai.constraint_fields import asked_constraint
from unisono.server.openai.openapi import ERRORS, describe_body, describe_stream
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest
from unisono.server.openai.response_schema import ChatCompletion, Completion
from unisono.server.openai.sampling_options import completion_params
from unisono.server.openai.starting import start_chat, start_generation
from unisono.server.openai.streaming import respond
from unisono.server.service import Service

router = APIRouter()


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
        head=chat.head,
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
    params = completion_params(body, service.settings.limits)
    service.check_room(params.n, request.state.tenant)
    await service.constraints.check(asked_constraint(body))
    prompts = [
        prompt.cut_to(service.truncated(prompt.token_ids, params, body))
        for prompt in await service.encoder.completion(body)
    ]
    service.check_room(params.n * len(prompts), request.state.tenant)
    head = service.head("cmpl")
    token_ids = [prompt.token_ids for prompt in prompts]
    generation = start_generation(request, head["id"], token_ids, params, body, continues_text=True)
    renderer = CompletionRenderer(
        tokenizer=service.tokenizer,
        body=body,
        head=head,
        usage=generation.usage,
        prompts=prompts,
        num_answers_each=params.n,
    )
    return await respond(generation, renderer, streams=bool(body.stream))
