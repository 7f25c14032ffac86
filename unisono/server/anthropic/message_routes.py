"""Anthropic's routes: messages, and the number of their tokens.

Knows the order of work; shapes and limits are elsewhere.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unisono.server.anthropic.message_body import MessagesRequest, to_chat
from unisono.server.anthropic.message_renderer import MessageRenderer, error_fields
from unisono.server.anthropic.message_response import MESSAGE_ERRORS, Message, TokenCount
from unisono.server.error_shape import answers_in
from unisono.server.openai.openapi import describe_body, describe_stream
from unisono.server.openai.request_schema import ChatRequest
from unisono.server.openai.starting import start_chat
from unisono.server.openai.streaming import respond, to_json
from unisono.server.openai.validation import read_body, validate
from unisono.server.service import Service

router = APIRouter()


def _error(error: BaseException) -> dict[str, Any]:
    return {"type": "error", "error": error_fields(error)}


@router.post(
    "/v1/messages",
    response_model=Message,
    responses={**MESSAGE_ERRORS, **describe_stream("Message")},
    openapi_extra=describe_body(MessagesRequest),
)
@answers_in(_error)
async def create_message(request: Request) -> Response:
    """Answers a conversation, by Anthropic's API."""
    service: Service = request.app.state.service
    body = await _read(request, service, counts=False)
    chat = await start_chat(request, body, kind="msg")
    head = {"id": chat.head["id"].replace("-", "_"), "model": chat.head["model"]}
    renderer = MessageRenderer(head=head, usage=chat.generation.usage)
    return await respond(chat.generation, renderer, streams=bool(body.stream))


@router.post(
    "/v1/messages/count_tokens",
    response_model=TokenCount,
    responses=MESSAGE_ERRORS,
    openapi_extra=describe_body(MessagesRequest),
)
@answers_in(_error)
async def count_tokens(request: Request) -> Response:
    """Tokens of a conversation's prompt."""
    service: Service = request.app.state.service
    body = await _read(request, service, counts=True)
    token_ids = await service.encoder.chat(body)
    return Response(to_json({"input_tokens": len(token_ids)}), media_type="application/json")


async def _read(request: Request, service: Service, *, counts: bool) -> ChatRequest:
    has_switch = any(map(service.tokenizer.template_reads, ("enable_thinking", "thinking")))
    most = service.settings.limits.messages

    def read(value: dict[str, Any]) -> ChatRequest:
        given = read_body(value, MessagesRequest, service.unknown_fields)
        takes_budget = service.reader.takes_budget
        chat = to_chat(given, counts=counts, has_switch=has_switch, takes_budget=takes_budget)
        return validate(chat, ChatRequest, service.unknown_fields, most_messages=most)

    body = await service.bodies.read(request, read)
    service.check_model(body.model)
    return body
