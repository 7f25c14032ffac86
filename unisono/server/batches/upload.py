"""One uploaded file, from the socket to the store: within bounds of bytes and time.

Knows requests, forms and the store; nothing of batches.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from starlette.requests import Request

from unisono.server.api_error import ApiError, bad_request
from unisono.server.batches.file_store import FileStore
from unisono.server.batches.form_data import field_text, form_boundary, read_form
from unisono.server.batches.records import new_id
from unisono.server.http.json_body import body_too_large, discard_body
from unisono.server.settings import Limits

_PIECE_BYTES = 1 << 20
_MAX_NAME = 255


async def receive_file(request: Request, store: FileStore, limits: Limits) -> dict[str, Any]:
    """The record of the file that the request uploads.

    Raises:
        ApiError: it is too large, too slow, no form, or not for a batch; or there is no room.
    """
    boundary = form_boundary(request.headers.get("content-type", ""))
    tenant = request.state.tenant
    await asyncio.to_thread(store.check_room, tenant)
    with _scratch(store) as path:
        with path.open("wb") as file, closing(_Arrival(file, store, limits)) as arrival:
            await arrival.receive(request)
        return await asyncio.to_thread(_take, store, tenant, path, boundary)


class _Arrival:
    """Bytes on their way to the file, counted as arriving until ``close``."""

    def __init__(self, file: BinaryIO, store: FileStore, limits: Limits) -> None:
        self._file = file
        self._store = store
        self._limits = limits
        self._num_bytes = 0

    async def receive(self, request: Request) -> None:
        timeout_s = self._limits.body_timeout_s
        try:
            await asyncio.wait_for(self._collect(request), timeout_s)
        except asyncio.TimeoutError as error:
            message = f"The file did not arrive within {timeout_s:g} seconds."
            raise ApiError(408, message, code="request_timeout", close=True) from error
        except ApiError:
            await discard_body(request.state.visit)
            raise

    def close(self) -> None:
        self._store.arrive(-self._num_bytes)

    async def _collect(self, request: Request) -> None:
        async for chunk in request.stream():
            if self._num_bytes + len(chunk) > self._limits.file_bytes:
                raise body_too_large(self._limits.file_bytes)
            self._store.arrive(len(chunk))
            self._num_bytes += len(chunk)
            await asyncio.to_thread(self._file.write, chunk)


def _take(store: FileStore, tenant: str, path: Path, boundary: bytes) -> dict[str, Any]:
    parts = read_form(path, boundary)
    for name in ("purpose", "file"):
        if name not in parts:
            raise bad_request(f"{name}: This field is required.", param=name)
    if field_text(path, parts["purpose"]) != "batch":
        raise bad_request("purpose: This server takes files for 'batch' alone.", param="purpose")
    unknown = parts.keys() - {"purpose", "file"}
    if unknown:
        message = "A file has the fields purpose and file, and no others: it never expires."
        raise bad_request(message, param="expires_after", code="not_supported")
    file = parts["file"]
    with path.open("r+b") as body:
        _keep_only(body, file.start, file.end)
    filename = Path(file.filename or "file").name[:_MAX_NAME] or "file"
    return store.add(tenant, path, filename=filename, purpose="batch")


def _keep_only(body: BinaryIO, start: int, end: int) -> None:
    """Moves a part of the file to its beginning and cuts it there."""
    at = 0
    while start + at < end:
        body.seek(start + at)
        piece = body.read(min(_PIECE_BYTES, end - start - at))
        body.seek(at)
        body.write(piece)
        at += len(piece)
    body.truncate(end - start)


@contextmanager
def _scratch(store: FileStore) -> Iterator[Path]:
    """A file of its own that is gone at the end, if nobody took it over."""
    path = store.root / f"{new_id('upload-')}.part"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
