"""The routes of files: to upload, list, read and delete them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from unisono.server.batches.batch_schema import DeletedFile, FileList, FileObject
from unisono.server.batches.batches import given, not_found
from unisono.server.batches.listing import page
from unisono.server.batches.upload import receive_file
from unisono.server.openai.openapi import ERRORS
from unisono.server.service import Service

router = APIRouter()
Json = dict[str, Any]
FILE_ERRORS: dict[int | str, Any] = {status: ERRORS[status] for status in (400, 401, 403, 404, 503)}
_FORM = {
    "type": "object",
    "required": ["purpose", "file"],
    "properties": {
        "purpose": {"type": "string", "enum": ["batch"]},
        "file": {"type": "string", "format": "binary"},
    },
}


@router.post(
    "/v1/files",
    response_model=FileObject,
    responses=ERRORS,
    openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def upload_file(request: Request) -> Json:
    """Takes a file for a batch: requests, one a line."""
    service: Service = request.app.state.service
    store = given(service.batches).files
    return await receive_file(request, store, service.settings.limits)


@router.get("/v1/files", response_model=FileList, responses=FILE_ERRORS)
async def list_files(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
    purpose: str | None = None,
) -> Json:
    """Files of this key, results of batches among them."""
    service: Service = request.app.state.service
    store = given(service.batches).files
    files = await asyncio.to_thread(store.newest_first, request.state.tenant)
    files = [file for file in files if purpose in (None, file["purpose"])]
    return page(files if order == "desc" else files[::-1], after, limit)


@router.get("/v1/files/{file_id}", response_model=FileObject, responses=FILE_ERRORS)
async def get_file(request: Request, file_id: str) -> Json:
    """The name and the size of a file."""
    service: Service = request.app.state.service
    found = given(service.batches).files.get(request.state.tenant, file_id)
    if found is None:
        raise not_found("file", "file_id")
    return found


@router.get(
    "/v1/files/{file_id}/content",
    response_class=FileResponse,
    responses={**FILE_ERRORS, 200: {"content": {"application/octet-stream": {}}}},
)
async def get_content(request: Request, file_id: str) -> Response:
    """The bytes of a file."""
    service: Service = request.app.state.service
    path = given(service.batches).files.data(request.state.tenant, file_id)
    if path is None:
        raise not_found("file", "file_id")
    headers = {"x-content-type-options": "nosniff"}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


@router.delete("/v1/files/{file_id}", response_model=DeletedFile, responses=FILE_ERRORS)
async def delete_file(request: Request, file_id: str) -> Json:
    """Deletes a file."""
    service: Service = request.app.state.service
    store = given(service.batches).files
    if not await asyncio.to_thread(store.delete, request.state.tenant, file_id):
        raise not_found("file", "file_id")
    return {"id": file_id, "object": "file", "deleted": True}
