"""The routes of batches: to create one, look at it and cancel it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from unisono.server.api_error import bad_request, not_supported
from unisono.server.batches.batch_object import UNFINISHED, new_batch
from unisono.server.batches.batch_schema import BatchList, BatchObject, BatchRequest
from unisono.server.batches.batches import Batches, given, not_found
from unisono.server.batches.file_routes import FILE_ERRORS
from unisono.server.batches.inner_request import Route
from unisono.server.batches.listing import page
from unisono.server.openai import generate_routes
from unisono.server.openai.openapi import ERRORS, describe_body
from unisono.server.openai.validation import read_body
from unisono.server.pooling import pooled_routes
from unisono.server.responses import response_routes
from unisono.server.service import Service

router = APIRouter()
Json = dict[str, Any]
ENDPOINTS: dict[str, Route] = {
    "/v1/chat/completions": generate_routes.create_chat_completion,
    "/v1/completions": generate_routes.create_completion,
    "/v1/responses": response_routes.create_response,
    "/v1/embeddings": pooled_routes.create_embeddings,
}
"""Routes that a batch may ask."""


@router.post(
    "/v1/batches",
    response_model=BatchObject,
    responses=ERRORS,
    openapi_extra=describe_body(BatchRequest),
)
async def create_batch(request: Request) -> Json:
    """Answers all requests of a file, in a while."""
    service: Service = request.app.state.service
    batches, tenant = given(service.batches), request.state.tenant
    body = await service.bodies.read(
        request, lambda value: read_body(value, BatchRequest, service.unknown_fields)
    )
    if body.endpoint not in ENDPOINTS:
        known = ", ".join(ENDPOINTS)
        raise bad_request(f"endpoint: a batch may ask {known}.", param="endpoint")
    if body.output_expires_after:
        hint = "Results stay until they are deleted."
        raise not_supported("An end of results", "output_expires_after", hint)
    file = batches.files.get(tenant, body.input_file_id)
    if file is None:
        raise not_found("file", "input_file_id")
    if file["purpose"] != "batch":
        message = "input_file_id: this file was not uploaded for a batch."
        raise bad_request(message, param="input_file_id")
    batch = new_batch(body.endpoint, body.input_file_id, body.metadata)
    await asyncio.to_thread(_keep, batches, tenant, batch, service.settings.limits.files)
    batches.runner.add(tenant, batch)
    return dict(batch)


@router.get("/v1/batches", response_model=BatchList, responses=FILE_ERRORS)
async def list_batches(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> Json:
    """Batches of this key, the newest first."""
    service: Service = request.app.state.service
    batches, tenant = given(service.batches), request.state.tenant
    stored = await asyncio.to_thread(batches.records.newest_first, tenant)
    return page([batches.runner.current(tenant, one["id"]) or one for one in stored], after, limit)


@router.get("/v1/batches/{batch_id}", response_model=BatchObject, responses=FILE_ERRORS)
async def get_batch(request: Request, batch_id: str) -> Json:
    """A batch, and how far it is."""
    service: Service = request.app.state.service
    return _batch(given(service.batches), request.state.tenant, batch_id)


@router.post("/v1/batches/{batch_id}/cancel", response_model=BatchObject, responses=FILE_ERRORS)
async def cancel_batch(request: Request, batch_id: str) -> Json:
    """Ends a batch; what is being answered is answered, and results so far are kept."""
    service: Service = request.app.state.service
    batches, tenant = given(service.batches), request.state.tenant
    batch = _batch(batches, tenant, batch_id)
    if batch["status"] not in UNFINISHED - {"finalizing"}:
        message = "This batch is at its end and cannot be cancelled."
        raise bad_request(message, param="batch_id")
    if batch["status"] != "cancelling":
        await batches.runner.cancel(tenant, batch)
    return dict(batch)


def _batch(batches: Batches, tenant: str, name: str) -> Json:
    """The batch as it is now."""
    found = batches.runner.current(tenant, name) or batches.records.get(tenant, name)
    if found is None:
        raise not_found("batch", "batch_id")
    return found


def _keep(batches: Batches, tenant: str, batch: Json, most: int) -> None:
    """Stores a batch; the oldest that is at its end makes room."""
    stored = batches.records.newest_first(tenant)
    ended = [one for one in stored if one["status"] not in UNFINISHED]
    if len(stored) >= most and not ended:
        message = f"There are {most} batches already: wait until some are at their end."
        raise bad_request(message, code="queue_full")
    if len(stored) >= most:
        batches.records.delete(tenant, ended[-1]["id"])
    batches.records.save(tenant, batch)
