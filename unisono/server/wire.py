"""The language between the API process and the engine process: length-prefixed msgpack frames.

Knows frames and messages, nothing of sockets, processes or HTTP. Every message is a list that
starts with its kind; what is read is checked field by field, so a peer gone wrong shows as a
``ProtocolError`` and never as a strange object further in. No pickle.

To the engine:    ``["start", folder, config]``, ``["add", [request...]]``, ``["abort", [id...]]``
From the engine:  ``["ready", info]``, ``["failed", error]``,
                  ``["step", [output...], [[id, error]...], stats or nil]``
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgpack

from unisono.core import EngineConfig, Request, SamplingParams, errors

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

MAX_FRAME_BYTES = 256 * 2**20
_LENGTH = struct.Struct("<I")
_ERROR_KINDS: dict[str, type[errors.UnisonoError]] = {
    name: getattr(errors, name) for name in errors.__all__
}
_PARAM_NAMES = tuple(field.name for field in dataclasses.fields(SamplingParams))


class ProtocolError(Exception):
    """The other side sent something that is no message."""


class FrameBuffer:
    """Bytes in, messages out, however the bytes were cut."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """The messages that are complete now.

        Raises:
            ProtocolError: a frame that is too large, or no message.
        """
        self._pending += data
        while (frame := self._next_frame()) is not None:
            yield _unpack(frame)

    def _next_frame(self) -> bytes | None:
        if len(self._pending) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._pending)
        if size > self._max_frame_bytes:
            raise ProtocolError(f"a frame of {size} bytes is larger than {self._max_frame_bytes}")
        end = _LENGTH.size + size
        if len(self._pending) < end:
            return None
        frame = bytes(self._pending[_LENGTH.size : end])
        del self._pending[:end]
        return frame


def encode_frame(message: list[Any]) -> bytes:
    """Raises:
    ProtocolError: the message is larger than a frame may be.
    """
    body: bytes = msgpack.packb(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a message of {len(body)} bytes does not fit a frame")
    return _LENGTH.pack(len(body)) + body


def _unpack(frame: bytes) -> list[Any]:
    try:
        message = msgpack.unpackb(frame, strict_map_key=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise ProtocolError("a frame is not msgpack") from error
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise ProtocolError("a message is a list that starts with its kind")
    return message


def encode_start(folder: Path, config: EngineConfig) -> list[Any]:
    return ["start", str(folder), dataclasses.asdict(config)]


def decode_start(message: list[Any]) -> tuple[Path, EngineConfig]:
    """Raises:
    ProtocolError: not a ``start`` message.
    """
    match message:
        case ["start", str(folder), dict(config)]:
            try:
                return Path(folder), EngineConfig(**config)
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
        ]:
            return Request(
                id=name,
                prompt_token_ids=_ids(prompt),
                params=_params(params),
                seed=seed,
                priority=priority,
                tenant=tenant,
                resumed_token_ids=_ids(resumed),
            )
    raise ProtocolError("a request has seven fields")


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


def encode_error(error: errors.UnisonoError) -> list[Any]:
    kind = next(base.__name__ for base in type(error).__mro__ if base.__name__ in _ERROR_KINDS)
    extra = getattr(error, "param", None) or getattr(error, "retry_after_s", None)
    return [kind, error.message, error.hint, extra]


def decode_error(fields: Any) -> errors.UnisonoError:
    """The typed error that the other side raised.

    Raises:
        ProtocolError: not an error.
    """
    match fields:
        case [str(name), str(message), str(hint), None | str() | int() as extra]:
            kind = _ERROR_KINDS.get(name)
            if kind is None:
                raise ProtocolError("an error of an unknown kind")
            if issubclass(kind, errors.InvalidRequestError):
                param = extra if isinstance(extra, str) else None
                return kind(message, param=param, hint=hint)
            if issubclass(kind, errors.QueueFullError):
                wait = extra if isinstance(extra, int) else 1
                return kind(message, retry_after_s=wait, hint=hint)
            return kind(message, hint=hint)
    raise ProtocolError("an error has four fields")
