"""The language between the API process and the engine process, in frames (``engine.frames``).

Knows messages, nothing of sockets, processes or HTTP. What is read is checked field by field, so a
peer gone wrong shows as a ``ProtocolError`` and never as a strange object further in. No pickle.

To the engine:    ``["start", folder, config, beat_s]``, ``["add", [prompt...], [request...]]``,
                  ``["abort", [id...]]``
From the engine:  ``["ready", info]``, ``["failed", error]``,
                  ``["step", [output...], [[id, error]...], stats or nil]``,
                  ``["beat"]`` about every ``beat_s`` of a step that is still computed
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unisono.core import errors, frames
from unisono.core.config import EngineConfig
from unisono.core.frames import (
    MAX_FRAME_BYTES,
    FrameBuffer,
    ProtocolError,
    decode_error,
    encode_error,
)
from unisono.core.request import Request
from unisono.core.sampling import SamplingParams

__all__ = [
    "MAX_FRAME_BYTES",
    "FrameBuffer",
    "ProtocolError",
    "decode_error",
    "decode_requests",
    "decode_start",
    "encode_error",
    "encode_frame",
    "encode_requests",
    "encode_start",
]

_PARAM_NAMES = tuple(field.name for field in dataclasses.fields(SamplingParams))


def encode_frame(message: list[Any]) -> bytes:
    """Raises:
    ProtocolError: the message is larger than a frame may be.
    """
    return frames.encode_frame(message, MAX_FRAME_BYTES)


def encode_start(folder: Path, config: EngineConfig, beat_s: float) -> list[Any]:
    return ["start", str(folder), dataclasses.asdict(config), beat_s]


def decode_start(message: list[Any]) -> tuple[Path, EngineConfig, float]:
    """Raises:
    ProtocolError: not a ``start`` message.
    """
    match message:
        case ["start", str(folder), dict(config), float(beat_s)]:
            try:
                return Path(folder), EngineConfig(**config), beat_s
            except (TypeError, errors.ConfigError) as error:
                raise ProtocolError("a start message with a wrong configuration") from error
    raise ProtocolError("the first message is not a start message")


def encode_requests(requests: Sequence[Request]) -> list[Any]:
    """An ``add`` message. Answers to one prompt, which follow one another, carry it once."""
    prompts: list[tuple[int, ...]] = []
    fields = []
    for request in requests:
        if not prompts or prompts[-1] is not request.prompt_token_ids:
            prompts.append(request.prompt_token_ids)
        fields.append(_encode_request(request, len(prompts) - 1))
    return ["add", prompts, fields]


def decode_requests(message: list[Any]) -> list[Request]:
    """Raises:
    ProtocolError: not an ``add`` message.
    """
    match message:
        case ["add", list(prompts), list(requests)]:
            ids = [_ids(prompt) for prompt in prompts]
            return [_decode_request(fields, ids) for fields in requests]
    raise ProtocolError("not an add message")


def _encode_request(request: Request, prompt_index: int) -> list[Any]:
    params = {name: getattr(request.params, name) for name in _PARAM_NAMES}
    return [
        request.id,
        prompt_index,
        params,
        request.seed,
        request.priority,
        request.tenant,
        request.resumed_token_ids,
        request.cache_salt,
    ]


def _decode_request(fields: Any, prompts: list[tuple[int, ...]]) -> Request:
    match fields:
        case [
            str(name),
            int(prompt_index),
            dict(params),
            int(seed),
            int(priority),
            str(tenant),
            list(resumed),
            str(cache_salt),
        ] if 0 <= prompt_index < len(prompts):
            return Request(
                id=name,
                prompt_token_ids=prompts[prompt_index],
                params=_params(params),
                seed=seed,
                priority=priority,
                tenant=tenant,
                resumed_token_ids=_ids(resumed),
                cache_salt=cache_salt,
            )
    raise ProtocolError("a request has eight fields")


def _params(fields: dict[Any, Any]) -> SamplingParams:
    try:
        return SamplingParams(**fields)
    except (TypeError, errors.InvalidRequestError) as error:
        raise ProtocolError("sampling parameters out of range") from error


def _ids(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list):
        raise ProtocolError("token ids are a list")
    ids = tuple(values)
    if any(type(value) is not int for value in ids):
        raise ProtocolError("token ids are integers")
    return ids
