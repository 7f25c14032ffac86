"""From a checked body to answers under way: limits, prompt, constraint, requests for the engine.

Knows the order of work; nothing of the shape of responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from unisono.core.sampling import SamplingParams
from unisono.server.api_error import bad_request
from unisono.server.openai.chat_reading import ChatReading
from unisono.server.openai.constraint_fields import asked_constraint
from unisono.server.openai.generation import Generation, make_requests
from unisono.server.openai.prompts import Prompt
from unisono.server.openai.reasoning.options import with_plain_reasoning
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest, SamplingFields
from unisono.server.openai.sampling_options import chat_params, completion_params, has_limit
from unisono.server.service import Service


@dataclass(frozen=True)
class StartedChat:
    head: dict[str, Any]
    """``id``, ``created`` and ``model`` of the response."""
    generation: Generation
    prompt_ids: Sequence[int]
    shows_reasoning: bool


async def start_chat(request: Request, body: ChatRequest, *, kind: str) -> StartedChat:
    """Args:
        kind: of the response, with which its id begins.

    Raises:
        ApiError, UnisonoError: what is wrong with the body, or why it cannot be answered now.
    """
    service: Service = request.app.state.service
    service.settings.role.check("generate")
    body = with_plain_reasoning(body, service.reader, service.tokenizer)
    params = chat_params(body, service.settings.limits)
    reading = ChatReading(body, service.reader)
    service.check_room(params.n, request.state.tenant)
    await reading.check(service.constraints)
    prompt_ids = service.truncated(await service.encoder.chat(body), params, body)
    params = replace(params, constraint=reading.constraint_behind(prompt_ids, params))
    head = service.head(kind, body.model)
    generation = start_generation(
        request,
        head["id"],
        [prompt_ids],
        params,
        body,
        continues_text=bool(body.continue_final_message),
        reading=reading,
    )
    return StartedChat(head, generation, prompt_ids, reading.shows_reasoning)


@dataclass(frozen=True)
class StartedCompletion:
    head: dict[str, Any]
    """``id``, ``created`` and ``model`` of the response."""
    generation: Generation
    prompts: Sequence[Prompt]
    num_answers_each: int


async def start_completion(
    request: Request, body: CompletionRequest, *, kind: str
) -> StartedCompletion:
    """Args and errors as of :func:`start_chat`."""
    service: Service = request.app.state.service
    service.settings.role.check("generate")
    params = completion_params(body, service.settings.limits)
    service.check_room(params.n, request.state.tenant)
    await service.constraints.check(asked_constraint(body))
    prompts = [
        prompt.cut_to(service.truncated(prompt.token_ids, params, body))
        for prompt in await service.encoder.completion(body)
    ]
    if body.suffix and (infill := service.encoder.infill) is not None:
        params = replace(params, stop_token_ids=(*params.stop_token_ids, *infill.ends))
    service.check_room(params.n * len(prompts), request.state.tenant)
    head = service.head(kind, body.model)
    token_ids = [prompt.token_ids for prompt in prompts]
    generation = start_generation(request, head["id"], token_ids, params, body, continues_text=True)
    return StartedCompletion(head, generation, prompts, params.n)


def start_generation(
    request: Request,
    name: str,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    body: SamplingFields,
    *,
    continues_text: bool,
    reading: ChatReading | None = None,
) -> Generation:
    """Hands the answers' requests to the engine.

    Raises:
        ApiError: log-probabilities of more prompt tokens than one request may have.
    """
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
        adapter=service.adapter(body.model),
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
