"""The language between the API process and the engine process, in frames (``engine.frames``).

Knows messages, nothing of sockets, processes or HTTP. What is read is checked field by field, so a
peer gone wrong shows as a ``ProtocolError`` and never as a strange object further in. No pickle.

To the engine:    ``["start", folder, config, beat_s]``, ``["add", [request...]]``,
                  ``["abort", [id...]]``
From the engine:  ``["ready", info]``, ``["failed", error]``,
                  ``["step", [output...], [[id, error]...], stats or nil]``,
                  ``["beat"]`` about every ``beat_s`` of a step that is still computed
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unisono.core import EngineConfig, Request, SamplingParams, errors
from unisono.engine import frames
from unisono.engine.frames import (
    MAX_FRAME_BYTES,
    FrameBuffer,
    ProtocolError,
    decode_error,
    encode_error,
)

__all__ = [
    "MAX_FRAME_BYTES",
    "FrameBuffer",
    "ProtocolError",
    "decode_error",
    "decode_request",
    "decode_start",
    "encode_error",
    "encode_frame",
    "encode_request",
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


def encode_request(request: Request) -> list[Any]:
    params = {name: getattr(request.params, name) for name in _PARAM_NAMES}
    return [
        request.id,
        request.prompt_token_ids,
        params,
        request.seed,
        request.priority,
        request.tenant,
        request.resumed_token_ids,
        request.cache_salt,
    ]


def decode_request(fields: Any) -> Request:
    """Raises:
    ProtocolError: not a request.
    """
    match fields:
        case [
            str(name),
            list(prompt),
            dict(params),
            int(seed),
            int(priority),
            str(tenant),
            list(resumed),
            str(cache_salt),
        ]:
            return Request(
                id=name,
                prompt_token_ids=_ids(prompt),
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


def _ids(values: Iterable[Any]) -> tuple[int, ...]:
    ids = tuple(values)
    if any(type(value) is not int for value in ids):
        raise ProtocolError("token ids are integers")
    return ids
