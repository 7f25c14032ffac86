"""The routes that generate: chat completions and plain completions.

Knows the order of work (check, tokenize, submit, stream); shapes and limits are elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unisono.core import SamplingParams
from unisono.server.api_error import bad_request
from unisono.server.chat import ChatEvents, chat_completion
from unisono.server.completions import CompletionEvents, CompletionView, completion
from unisono.server.event_stream import EventStream, Renderer
from unisono.server.generation import AnswerDelta, Generation, make_requests
from unisono.server.json_body import read_model
from unisono.server.openapi import ERRORS, describe_body, describe_stream
from unisono.server.request_schema import ChatRequest, CompletionRequest, SamplingFields
from unisono.server.response_schema import ChatCompletion, Completion
from unisono.server.sampling_options import chat_params, completion_params
from unisono.server.service import Service

__all__ = ["router"]

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
    body = await read_model(request, ChatRequest, service.settings.limits)
    service.check_model(body.model)
    params = chat_params(body, service.settings.limits)
    service.check_room(params.n)
    token_ids = await service.encoder.chat(body)
    head = service.head("chatcmpl")
    continues = bool(body.continue_final_message)
    generation = _generation(
        request, head["id"], [token_ids], params, body, continues_text=continues
    )
    if body.stream:
        events = ChatEvents(
            service.tokenizer,
            head,
            num_answers=generation.num_answers,
            has_logprobs=bool(body.logprobs),
            has_usage=_wants_usage(body),
        )
        return await _stream(generation, events)
    answers = await _collect(generation)
    content = chat_completion(
        service.tokenizer, head, answers, generation.usage, has_logprobs=bool(body.logprobs)
    )
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
    body = await read_model(request, CompletionRequest, service.settings.limits)
    service.check_model(body.model)
    params = completion_params(body, service.settings.limits)
    service.check_room(params.n)
    prompts = await service.encoder.completion(body)
    service.check_room(params.n * len(prompts))
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
    )
    if body.stream:
        events = CompletionEvents(view, head, has_usage=_wants_usage(body))
        return await _stream(generation, events)
    answers = await _collect(generation)
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
        name, prompts, params, priority=body.priority or 0, tenant=request.state.tenant
    )
    return Generation(
        service.engine, service.tokenizer, requests, service.metrics, continues_text=continues_text
    )


def _wants_usage(body: SamplingFields) -> bool:
    return body.stream_options is not None and bool(body.stream_options.include_usage)


async def _stream(generation: Generation, renderer: Renderer) -> Response:
    """Waits for the first deltas, so that what fails before them has a status of its own."""
    return EventStream(generation, await generation.__anext__(), renderer)


async def _collect(generation: Generation) -> list[AnswerDelta]:
    """All answers, complete and in order."""
    answers = [_Collected(index) for index in range(generation.num_answers)]
    async for deltas in generation:
        for delta in deltas:
            answers[delta.index].add(delta)
    return [answer.whole() for answer in answers]


class _Collected:
    """The deltas of one answer, until it is whole."""

    def __init__(self, index: int) -> None:
        self._whole = AnswerDelta(index, "", [])
        self._texts: list[str] = []

    def add(self, delta: AnswerDelta) -> None:
        whole = self._whole
        self._texts.append(delta.text)
        whole.token_ids += delta.token_ids
        if delta.logprobs is not None:
            whole.logprobs = whole.logprobs or []
            whole.logprobs += delta.logprobs
        whole.prompt_logprobs = delta.prompt_logprobs or whole.prompt_logprobs
        whole.finish_reason = delta.finish_reason or whole.finish_reason

    def whole(self) -> AnswerDelta:
        self._whole.text = "".join(self._texts)
        return self._whole
