"""Bodies and responses of the routes of files and batches.

Responses are put together by hand (``batch_object.py``, ``file_store.py``); a test holds the two
together.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from unisono.server.openai.body_model import Body
from unisono.server.openai.response_schema import Exact

_Key = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=512)]


class BatchRequest(Body):
    """Body of ``POST /v1/batches``."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"model"})

    input_file_id: Annotated[str, Field(max_length=64)]
    endpoint: Annotated[str, Field(max_length=64)]
    completion_window: Literal["24h"]
    metadata: Annotated[dict[_Key, _Value], Field(max_length=16)] | None = None
    output_expires_after: dict[str, Any] | None = None


class FileObject(Exact):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: None
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]


class DeletedFile(Exact):
    id: str
    object: Literal["file"]
    deleted: Literal[True]


class FileList(Exact):
    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchError(Exact):
    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(Exact):
    object: Literal["list"]
    data: list[BatchError]


class RequestCounts(Exact):
    total: int
    completed: int
    failed: int


class BatchObject(Exact):
    id: str
    object: Literal["batch"]
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: Literal["24h"]
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    expires_at: int
    request_counts: RequestCounts
    metadata: dict[str, str] | None


class BatchList(Exact):
    object: Literal["list"]
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
