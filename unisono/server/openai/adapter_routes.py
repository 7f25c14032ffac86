"""The operator's routes that load and remove adapters while the server runs, as vLLM has them.

Off unless the server was given a folder with ``--adapters-dir``; no path leaves it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from unisono.core import errors
from unisono.core.adapter_names import check_adapter_name
from unisono.server.api_error import ApiError, bad_request
from unisono.server.openai.adapter_schema import LoadAdapterRequest, UnloadAdapterRequest
from unisono.server.openai.openapi import ERRORS, describe_body
from unisono.server.openai.validation import AnyBody, read_body
from unisono.server.service import Service

router = APIRouter()
_FILES = ("adapter_config.json", "adapter_model.safetensors")
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Done.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.post(
    "/v1/load_lora_adapter",
    response_model=None,
    responses={**ERRORS, **_TEXT},
    openapi_extra=describe_body(LoadAdapterRequest),
)
async def load_adapter(request: Request) -> PlainTextResponse:
    """Lets clients ask an adapter, by its name as model."""
    service, body = await _read(request, LoadAdapterRequest)
    name = body.lora_name
    if name in service.settings.model_names or name in service.engine.adapters:
        message = f"There is a model {name!r} already."
        raise bad_request(message, param="lora_name", code="name_taken")
    folder = _inside(service.settings.adapters_dir, body.lora_path)
    try:
        check_adapter_name(name)
        await service.engine.load_adapter(name, folder)
    except (errors.AdapterError, errors.InsufficientMemoryError) as error:
        raise _refused(error, folder, body.lora_path) from error
    return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


@router.post(
    "/v1/unload_lora_adapter",
    response_model=None,
    responses={**ERRORS, **_TEXT},
    openapi_extra=describe_body(UnloadAdapterRequest),
)
async def unload_adapter(request: Request) -> PlainTextResponse:
    """Takes an adapter away. Answers under way are finished with it."""
    service, body = await _read(request, UnloadAdapterRequest)
    name = body.lora_name
    if name not in service.engine.adapters:
        message = "There is no such adapter here."
        raise ApiError(404, message, param="lora_name", code="adapter_not_found")
    await service.engine.remove_adapter(name)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


async def _read(request: Request, model: type[AnyBody]) -> tuple[Service, AnyBody]:
    service: Service = request.app.state.service
    if service.settings.adapters_dir is None:
        message = "This server was not started with --adapters-dir: its adapters stay as they are."
        raise ApiError(403, message, code="not_allowed")
    body = await service.bodies.read(
        request, lambda value: read_body(value, model, service.unknown_fields)
    )
    return service, body


def _inside(root: Path | None, given: str) -> Path:
    """The folder that is meant, links followed.

    Raises:
        ApiError: it, or a file of it that is read, is not in ``root``.
    """
    assert root is not None
    try:
        root = root.resolve(strict=True)
        folder = (root / given).resolve()
        found = [folder, *((folder / name).resolve() for name in _FILES)]
    except (OSError, ValueError, RuntimeError):
        found = []
    if not found or not all(path.is_relative_to(root) for path in found) or folder == root:
        raise bad_request(
            "lora_path must be a folder in the one that the server was given.", param="lora_path"
        )
    return folder


def _refused(error: errors.UnisonoError, folder: Path, given: str) -> ApiError:
    """The error without the folder's place on this machine."""
    code = "invalid_adapter"
    if isinstance(error, errors.InsufficientMemoryError):
        code = "insufficient_memory"
    return bad_request(str(error).replace(str(folder), given), param="lora_path", code=code)
