"""The routes that generate: chat completions and plain completions.

Knows the order of work (check, tokenize, submit, stream); shapes and limits are elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unisono.core.sampling import SamplingParams
from unisono.server.api_error import bad_request
from unisono.server.openai.chat import ChatEvents, ChatView, chat_completion
from unisono.server.openai.completions import CompletionEvents, CompletionView, completion
from unisono.server.openai.generation import Generation, Usage, make_requests
from unisono.server.openai.openapi import ERRORS, describe_body, describe_stream
from unisono.server.openai.rendering import collected, streamed
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest, SamplingFields
from unisono.server.openai.response_schema import ChatCompletion, Completion
from unisono.server.openai.sampling_options import chat_params, completion_params, has_limit
from unisono.server.service import Service

__all__ = ["router"]

router = APIRouter()


class _ShownUsage(TypedDict):
    usage: Usage | None
    counts: bool


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
    service.check_model(body.model)
    params = chat_params(body, service.settings.limits)
    service.check_room(params.n, request.state.tenant)
    token_ids = service.truncated(await service.encoder.chat(body), params, body)
    head = service.head("chatcmpl")
    continues = bool(body.continue_final_message)
    generation = _generation(
        request, head["id"], [token_ids], params, body, continues_text=continues
    )
    view = ChatView(
        tokenizer=service.tokenizer,
        prompt_ids=token_ids if body.return_token_ids else None,
        has_logprobs=bool(body.logprobs),
        names_ids=bool(body.return_tokens_as_token_ids),
    )
    if body.stream:
        events = ChatEvents(
            view, head, num_answers=generation.num_answers, **_shown_usage(body, generation)
        )
        return await streamed(generation, events)
    answers = await collected(generation)
    content = chat_completion(view, head, answers, generation.usage)
    return Response(content, media_type="application/json")


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
    service.check_model(body.model)
    params = completion_params(body, service.settings.limits)
    service.check_room(params.n, request.state.tenant)
    prompts = [
        prompt.cut_to(service.truncated(prompt.token_ids, params, body))
        for prompt in await service.encoder.completion(body)
    ]
    service.check_room(params.n * len(prompts), request.state.tenant)
    head = service.head("cmpl")
    token_ids = [prompt.token_ids for prompt in prompts]
    generation = _generation(request, head["id"], token_ids, params, body, continues_text=True)
    view = CompletionView(
        service.tokenizer,
        prompts,
        num_answers_each=params.n,
        num_top=body.logprobs,
        echo=bool(body.echo),
        shows_prompt_logprobs=body.prompt_logprobs is not None,
        shows_ids=bool(body.return_token_ids),
        names_ids=bool(body.return_tokens_as_token_ids),
    )
    if body.stream:
        events = CompletionEvents(view, head, **_shown_usage(body, generation))
        return await streamed(generation, events)
    answers = await collected(generation)
    content = completion(view, head, answers, generation.usage)
    return Response(content, media_type="application/json")


def _generation(
    request: Request,
    name: str,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    body: SamplingFields,
    *,
    continues_text: bool = False,
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
        service.engine, service.tokenizer, requests, service.metrics, continues_text=continues_text
    )
    request.state.visit.hold(generation)
    return generation


def _shown_usage(body: SamplingFields, generation: Generation) -> _ShownUsage:
    options = body.stream_options
    wants_usage = options is not None and bool(options.include_usage)
    counts = options is not None and bool(options.continuous_usage_stats)
    usage = generation.usage if wants_usage else None
    return {"usage": usage, "counts": wants_usage and counts}
