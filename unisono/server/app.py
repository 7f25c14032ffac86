"""The ASGI application: routes behind the guard.

Knows how the parts fit together; nothing of processes, sockets or signals.
"""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from unisono import __version__
from unisono.core import errors
from unisono.server.anthropic import message_routes
from unisono.server.api_error import ApiError, bad_request, error_response, log_failure
from unisono.server.batches import batch_routes, file_routes
from unisono.server.batches.batches import open_batches
from unisono.server.engine.supervisor import EngineSupervisor
from unisono.server.http.body_reader import BodyReader
from unisono.server.http.front import ROUTES, Front
from unisono.server.http.guard import Gate, Guard, KeyRing
from unisono.server.http.web_origins import WebOrigins
from unisono.server.metrics import Metrics
from unisono.server.ollama import embed_routes as ollama_embed_routes
from unisono.server.ollama import generate_routes as ollama_generate_routes
from unisono.server.ollama import model_routes as ollama_model_routes
from unisono.server.openai import adapter_routes, generate_routes, info_routes
from unisono.server.openai.body_model import UnknownFields
from unisono.server.openai.constraint_checks import ConstraintChecks
from unisono.server.openai.openapi import install_openapi
from unisono.server.openai.prompts import PromptEncoder
from unisono.server.pooling import pooled_routes
from unisono.server.pooling.body_schema import MOST_TEXTS
from unisono.server.responses import response_routes
from unisono.server.responses.conversations import Conversations
from unisono.server.responses.opening import open_store
from unisono.server.service import Service
from unisono.server.settings import ServerSettings
from unisono.text.parsers.reading import AnswerReader
from unisono.text.pooled_inputs import PooledInputs
from unisono.text.tokenizer import Tokenizer

_log = logging.getLogger("unisono.server")


def create_app(
    settings: ServerSettings,
    engine: EngineSupervisor,
    tokenizer: Tokenizer,
    gate: Gate | None = None,
) -> FastAPI:
    """The application of one model's server.

    Args:
        gate: counts the requests inside; while it is draining, no more may come.
    """
    app = FastAPI(title="unisono", version=__version__, docs_url=None, redoc_url=None)
    metrics = Metrics(lambda: engine.stats, lambda: engine.num_restarts)
    gate = gate or Gate()

    def max_model_len() -> int:
        return engine.facts.max_model_len

    def longest_list() -> int:
        pools = settings.role.task != "generate"
        return max(max_model_len(), MOST_TEXTS if pools else 0)

    app.state.service = Service(
        settings=settings,
        engine=engine,
        tokenizer=tokenizer,
        encoder=PromptEncoder(tokenizer, settings.limits, max_model_len),
        reader=AnswerReader(tokenizer, settings.tool_format),
        constraints=ConstraintChecks(tokenizer),
        metrics=metrics,
        bodies=BodyReader(settings.limits, longest_list),
        unknown_fields=UnknownFields(strict=settings.strict),
        responses=Conversations(open_store(settings), settings.limits.body_bytes),
        pooled=PooledInputs(tokenizer, settings.role, max_model_len),
        gate=gate,
        batches=open_batches(app, settings, batch_routes.ENDPOINTS),
    )
    has_batches = settings.batch_dir is not None
    app.include_router(file_routes.router, include_in_schema=has_batches)
    app.include_router(batch_routes.router, include_in_schema=has_batches)
    app.include_router(generate_routes.router)
    app.include_router(info_routes.router)
    app.include_router(adapter_routes.router)
    app.include_router(message_routes.router)
    app.include_router(response_routes.router)
    app.include_router(ollama_generate_routes.router)
    app.include_router(ollama_model_routes.router)
    app.include_router(ollama_embed_routes.router)
    app.include_router(pooled_routes.router)
    for kind in (ApiError, errors.UnisonoError):
        app.add_exception_handler(kind, _known_error)
    app.add_exception_handler(HTTPException, _routing_error)
    app.add_exception_handler(RequestValidationError, _wrong_parameter)
    origins = WebOrigins(
        cors_origins=settings.cors_origins,
        allowed_hosts=settings.allowed_hosts,
        host=settings.host,
        needs_key=bool(settings.api_keys),
    )
    app.add_middleware(
        Guard,
        origins=origins,
        keys=KeyRing(settings.api_keys),
        limits=settings.limits,
        gate=gate,
        metrics=metrics,
    )
    app.add_middleware(Front, origins=origins)
    install_openapi(app, lambda: app.state.service.model_names)
    return app


async def _known_error(request: Request, error: Exception) -> Response:
    log_failure(_log, error)
    return error_response(error)


async def _wrong_parameter(request: Request, error: Exception) -> Response:
    """A parameter of a path or a query; bodies are checked elsewhere."""
    assert isinstance(error, RequestValidationError)
    name = ".".join(str(part) for part in error.errors()[0]["loc"][1:])
    return error_response(bad_request(f"{name}: {error.errors()[0]['msg']}.", param=name))


async def _routing_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        headers = error.headers or {}
        message = f"This route does not take {request.method}, but {headers['Allow']}."
        response = error_response(ApiError(405, message))
        response.headers.update(headers)
        return response
    message = f"There is no such route here. There are {', '.join(ROUTES)}."
    return error_response(ApiError(error.status_code, message))
