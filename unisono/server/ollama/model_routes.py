"""Ollama's routes about models: the one that is served is listed, shown and loaded; to fetch, make
or delete others is refused."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from unisono import __version__
from unisono.server.api_error import ApiError
from unisono.server.error_shape import answers_in
from unisono.server.ollama.model_facts import ModelFacts
from unisono.server.ollama.ollama_body import OllamaShow, model_name
from unisono.server.ollama.ollama_response import (
    OLLAMA_ERRORS,
    KnownModels,
    LoadedModels,
    ShownModel,
    error_shape,
)
from unisono.server.openai.openapi import describe_body
from unisono.server.openai.response_schema import Version
from unisono.server.openai.validation import read_body
from unisono.server.service import Service

router = APIRouter()
Json = dict[str, Any]
_NEVER = datetime(2100, 1, 1, tzinfo=timezone.utc).isoformat()


@router.get("/", include_in_schema=False)
async def greet() -> PlainTextResponse:
    """Clients ask here whether there is a server."""
    return PlainTextResponse("unisono is running")


@router.get("/api/version", responses={401: OLLAMA_ERRORS[401]})
async def get_version() -> Version:
    """The version of unisono."""
    return Version(version=__version__)


@router.get("/api/tags", response_model=KnownModels, responses={401: OLLAMA_ERRORS[401]})
async def list_models(request: Request) -> Json:
    """The names that the model is served by."""
    service: Service = request.app.state.service
    facts = await _facts(service)
    known = {"modified_at": facts.modified_at, **_file(facts)}
    return {"models": [{"name": name, "model": name, **known} for name in service.model_names]}


@router.get("/api/ps", response_model=LoadedModels, responses={401: OLLAMA_ERRORS[401]})
async def list_loaded(request: Request) -> Json:
    """The model that is loaded. How much of it a device holds is not told apart from its size."""
    service: Service = request.app.state.service
    facts, name = await _facts(service), service.settings.model_name
    context = {"context_length": service.engine.facts.max_model_len, "expires_at": _NEVER}
    loaded = {"name": name, "model": name, "size_vram": facts.size, **_file(facts), **context}
    return {"models": [loaded]}


@router.post(
    "/api/show",
    response_model=ShownModel,
    responses=OLLAMA_ERRORS,
    openapi_extra=describe_body(OllamaShow),
)
@answers_in(error_shape)
async def show(request: Request) -> Json:
    """The served model: its template, its sampling defaults, what it can do."""
    service: Service = request.app.state.service
    body = await service.bodies.read(
        request, lambda value: read_body(value, OllamaShow, service.unknown_fields)
    )
    service.check_model(model_name(body.model or body.name))
    facts = await _facts(service)
    defaults = service.settings.sampling_defaults.said()
    family = facts.family or "model"
    return {
        "modelfile": "",
        "parameters": "\n".join(f"{name} {value}" for name, value in defaults.items()),
        "template": service.tokenizer.chat_templates.get("default", ""),
        "details": facts.details,
        "model_info": {
            "general.architecture": family,
            f"{family}.context_length": service.engine.facts.max_model_len,
            f"{family}.vocab_size": service.engine.facts.vocab_size,
        },
        "capabilities": _capabilities(service),
        "modified_at": facts.modified_at,
    }


async def refuse(request: Request) -> None:
    """Refused: a server serves the model that it was started with."""
    raise ApiError(
        400,
        "This server serves the model that it was started with: it does not fetch, make, copy or "
        "delete models. Start 'unisono serve MODEL' for another.",
        code="not_supported",
    )


for _path, _method in (
    *(("/api/pull", "POST"), ("/api/push", "POST"), ("/api/create", "POST")),
    *(("/api/copy", "POST"), ("/api/delete", "DELETE")),
):
    _route = answers_in(error_shape)(refuse)
    router.add_api_route(_path, _route, methods=[_method], name=_path, include_in_schema=False)


async def _facts(service: Service) -> ModelFacts:
    return await asyncio.to_thread(ModelFacts.of, service.settings.model_folder)


def _file(facts: ModelFacts) -> Json:
    return {"size": facts.size, "digest": facts.digest, "details": facts.details}


def _capabilities(service: Service) -> list[str]:
    if service.settings.role.task != "generate":
        return ["embedding"]
    found = ["completion"]
    if service.tokenizer.template_reads("tools"):
        found.append("tools")
    if service.reader.format.thinking is not None:
        found.append("thinking")
    if service.encoder.infill is not None:
        found.append("insert")
    return found
