"""Messages between the processes of one engine: length-prefixed msgpack frames over a socket.

Every message is a list that starts with its kind; what it means is its readers' to know. A peer
gone wrong shows as a ``ProtocolError`` and never as a strange object further in. No pickle.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgpack

from unisono.core import errors

__all__ = [
    "MAX_FRAME_BYTES",
    "FrameBuffer",
    "Link",
    "ProtocolError",
    "decode_error",
    "encode_error",
    "encode_frame",
]

MAX_FRAME_BYTES = 256 * 2**20
_READ_BYTES = 1 << 18
_LENGTH = struct.Struct("<I")
_ERROR_KINDS: dict[str, type[errors.UnisonoError]] = {
    name: getattr(errors, name) for name in errors.__all__
}


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


def encode_frame(message: list[Any], max_frame_bytes: int = MAX_FRAME_BYTES) -> bytes:
    """Raises:
    ProtocolError: the message is larger than a frame may be.
    """
    body: bytes = msgpack.packb(message)
    if len(body) > max_frame_bytes:
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


class Link:
    """Messages over a blocking socket; several threads may send."""

    def __init__(
        self, sock: socket.socket, encode: Callable[[list[Any]], bytes] = encode_frame
    ) -> None:
        self._sock = sock
        self._encode = encode
        self._buffer = FrameBuffer()
        self._early: list[list[Any]] = []
        self._sending = threading.Lock()
        self.closed = False

    def receive(self, *, block: bool, alarms: Sequence[socket.socket] = ()) -> list[list[Any]]:
        """What has arrived; with ``block``, waits until something has, or a socket of ``alarms`` is
        readable."""
        if self._early:
            messages, self._early = self._early, []
            return messages
        if alarms or not block:
            timeout_s = None if block else 0
            if self._sock not in select.select([self._sock, *alarms], [], [], timeout_s)[0]:
                return []
        try:
            data = self._sock.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return []
        return list(self._buffer.feed(data))

    def receive_one(self) -> list[Any] | None:
        """The first message, or ``None`` if the other side left before it."""
        while not self.closed:
            if messages := self.receive(block=True):
                self._early = messages[1:]
                return messages[0]
        return None

    def send(self, message: list[Any]) -> None:
        frame = self._encode(message)
        try:
            with self._sending:
                self._sock.sendall(frame)
        except ConnectionError:
            self.closed = True


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
