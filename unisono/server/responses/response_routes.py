"""The routes of responses: to create one, and to read or delete what is stored.

Knows the order of work; shapes and limits are elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from unisono.server.api_error import bad_request, not_supported
from unisono.server.openai.openapi import ERRORS, describe_body, describe_stream
from unisono.server.openai.request_schema import ChatRequest
from unisono.server.openai.starting import start_chat
from unisono.server.openai.streaming import fold, respond, to_json
from unisono.server.openai.validation import read_body, validate
from unisono.server.responses.chat_body import in_own_words, to_chat
from unisono.server.responses.input_items import items_of
from unisono.server.responses.response_body import ResponsesRequest
from unisono.server.responses.response_object import begun_response
from unisono.server.responses.response_renderer import ResponseRenderer
from unisono.server.responses.response_schema import (
    DeletedResponse,
    InputTokens,
    ItemList,
    ResponseObject,
)
from unisono.server.service import Service

router = APIRouter()
Json = dict[str, Any]
Keep = Callable[[Json], Awaitable[bool]]
_ERRORS: dict[int | str, Any] = {status: ERRORS[status] for status in (400, 401, 403, 404, 503)}


@router.post(
    "/v1/responses",
    response_model=ResponseObject,
    responses={**ERRORS, **describe_stream("ResponseObject")},
    openapi_extra=describe_body(ResponsesRequest),
)
async def create_response(request: Request) -> Response:
    """Answers a conversation, by OpenAI's Responses API."""
    service: Service = request.app.state.service
    body, items, chat_body = await _read(request, service)
    try:
        chat = await start_chat(request, chat_body, kind="resp")
    except Exception as error:
        raise in_own_words(error) from error
    keep: Keep | None = None
    if body.is_stored:
        keep = partial(service.responses.keep, request.state.tenant, items=items)
    renderer = ResponseRenderer(
        response=begun_response(
            chat.head, body, chat_body, defaults=service.settings.sampling_defaults
        ),
        usage=chat.generation.usage,
        tokenizer=service.tokenizer,
        shows_logprobs=body.shows_logprobs,
        keep=keep,
    )
    if body.stream:
        return await respond(chat.generation, renderer, streams=True)
    await fold(chat.generation, renderer.take)
    await renderer.settle()
    return _json(renderer.response)


@router.post(
    "/v1/responses/input_tokens",
    response_model=InputTokens,
    responses=ERRORS,
    openapi_extra=describe_body(ResponsesRequest),
)
async def count_input_tokens(request: Request) -> Response:
    """Tokens of a response's prompt."""
    service: Service = request.app.state.service
    _, _, chat = await _read(request, service)
    try:
        token_ids = await service.encoder.chat(chat)
    except Exception as error:
        raise in_own_words(error) from error
    return _json({"object": "response.input_tokens", "input_tokens": len(token_ids)})


@router.get("/v1/responses/{response_id}", response_model=ResponseObject, responses=_ERRORS)
async def get_response(request: Request, response_id: str) -> Response:
    """A response that was stored."""
    service: Service = request.app.state.service
    if request.query_params.get("stream", "").lower() in ("1", "true"):
        raise not_supported("A stream of what is stored", "stream")
    return _json(await service.responses.response(request.state.tenant, response_id))


@router.delete("/v1/responses/{response_id}", response_model=DeletedResponse, responses=_ERRORS)
async def delete_response(request: Request, response_id: str) -> Response:
    """Deletes what is stored of a response. Others do not go on from it any more."""
    service: Service = request.app.state.service
    await service.responses.delete(request.state.tenant, response_id)
    return _json({"id": response_id, "object": "response", "deleted": True})


@router.get("/v1/responses/{response_id}/input_items", response_model=ItemList, responses=_ERRORS)
async def list_input_items(
    request: Request,
    response_id: str,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> Response:
    """The items that a response answers, those of earlier turns included."""
    service: Service = request.app.state.service
    items = await service.responses.input_items(request.state.tenant, response_id)
    if order == "desc":
        items.reverse()
    if after is not None:
        names = [item["id"] for item in items]
        if after not in names:
            raise bad_request("after: there is no such item.", param="after")
        items = items[names.index(after) + 1 :]
    shown = items[:limit]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {}
    has_more = len(items) > limit
    return _json(
        {"object": "list", "data": shown, "first_id": "", "last_id": "", "has_more": has_more}
        | ends
    )


@router.post("/v1/responses/{response_id}/cancel", responses=_ERRORS)
async def cancel_response(request: Request, response_id: str) -> Response:
    """Refused: there are no responses in the background."""
    service: Service = request.app.state.service
    await service.responses.response(request.state.tenant, response_id)
    raise not_supported(
        "Cancelling", "response_id", "No response runs in the background: close its connection."
    )


async def _read(
    request: Request, service: Service
) -> tuple[ResponsesRequest, list[Json], ChatRequest]:
    """The body, its items, and the chat that they are."""

    def read(value: Json) -> tuple[ResponsesRequest, list[Json]]:
        body = read_body(value, ResponsesRequest, service.unknown_fields)
        return body, items_of(body.input)

    body, items = await service.bodies.read(request, read)
    tenant = request.state.tenant
    items = await service.responses.resolved(tenant, items)
    before = await service.responses.before(tenant, body.previous_response_id)
    most = service.settings.limits.messages

    def make() -> ChatRequest:
        chat = to_chat(body, before, items)
        return validate(chat, ChatRequest, service.unknown_fields, most_messages=most)

    try:
        chat = await asyncio.to_thread(make)
        service.check_model(chat.model)
    except Exception as error:
        raise in_own_words(error) from error
    return body, items, chat


def _json(value: Json) -> Response:
    return Response(to_json(value), media_type="application/json")
