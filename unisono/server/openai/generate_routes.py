"""The routes that generate: chat completions and plain completions.

Knows the order of work (check, tokenize, submit, stream); shapes and limits are elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unisono.core.sampling import SamplingParams
from unisono.server.api_error import bad_request
from unisono.server.openai.chat import ChatRenderer
from unisono.server.openai.chat_reading import ChatReading
from unisono.server.openai.completions import CompletionRenderer
from unisono.server.openai.constraint_fields import asked_constraint
from unisono.server.openai.generation import Generation, make_requests
from unisono.server.openai.openapi import ERRORS, describe_body, describe_stream
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest, SamplingFields
from unisono.server.openai.response_schema import ChatCompletion, Completion
from unisono.server.openai.sampling_options import chat_params, completion_params, has_limit
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
    params = chat_params(body, service.settings.limits)
    reading = ChatReading(body, service.reader)
    service.check_room(params.n, request.state.tenant)
    await service.constraints.check(reading.asked)
    token_ids = service.truncated(await service.encoder.chat(body), params, body)
    head = service.head("chatcmpl")
    params = replace(params, constraint=reading.constraint_behind(token_ids))
    continues = bool(body.continue_final_message)
    generation = _generation(
        request, head["id"], [token_ids], params, body, continues_text=continues, reading=reading
    )
    renderer = ChatRenderer(
        tokenizer=service.tokenizer,
        body=body,
        head=head,
        usage=generation.usage,
        prompt_ids=token_ids,
        num_answers=generation.num_answers,
        shows_reasoning=reading.shows_reasoning,
    )
    return await respond(generation, renderer, streams=bool(body.stream))


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
    generation = _generation(request, head["id"], token_ids, params, body, continues_text=True)
    renderer = CompletionRenderer(
        tokenizer=service.tokenizer,
        body=body,
        head=head,
        usage=generation.usage,
        prompts=prompts,
        num_answers_each=params.n,
    )
    return await respond(generation, renderer, streams=bool(body.stream))


def _generation(
    request: Request,
    name: str,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    body: SamplingFields,
    *,
    continues_text: bool,
    reading: ChatReading | None = None,
) -> Generation:
    service: Service = request.app.state.service
    request.state.body.close()
    if params.prompt_logprobs is not None:
        longest = service.settings.limits.logprob_entries // (params.prompt_logprobs + 1)
        if sum(len(prompt) for prompt in prompts) * params.n > longest:
            raise bad_request(
                "So many prompt log-probabilities are too much for one request: "
                "ask for fewer of them, or for a shorter prompt.",
                param="prompt_logprobs",
            )
    params = params.filled(service.settings.sampling_defaults)
    requests = make_requests(
        name,
        prompts,
        params,
        room=None if has_limit(body) else service.engine.facts.max_model_len,
        priority=body.priority or 0,
        tenant=request.state.tenant,
        cache_salt=body.cache_salt or "",
    )
    generation = Generation(
        service.engine,
        service.tokenizer,
        requests,
        service.metrics,
        continues_text=continues_text,
        make_parser=reading.make_parser if reading else None,
        max_calls=reading.max_calls if reading else None,
    )
    request.state.visit.hold(generation)
    return generation
