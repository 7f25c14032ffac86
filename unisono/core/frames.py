"""Messages between the processes of one engine: length-prefixed msgpack frames over a socket.

A message is a dataclass; its frame is the list of its class's name and its fields (``codec``).
Whoever reads says which classes may come.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from unisono.core.codec import ProtocolError, as_plain, decode

MAX_FRAME_BYTES = 256 * 2**20
_READ_BYTES = 1 << 18
_LENGTH = struct.Struct("<I")


class FrameBuffer:
    """Bytes in, messages of ``kinds`` out, however the bytes were cut."""

    def __init__(self, *kinds: type) -> None:
        self._kinds = {kind.__name__: kind for kind in kinds}
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that are complete now.

        Raises:
            ProtocolError: a frame that is too large, or no message.
        """
        self._pending += data
        while (frame := self._next_frame()) is not None:
            yield self._decode(frame)

    def _next_frame(self) -> bytes | None:
        if len(self._pending) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._pending)
        if size > MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame of {size} bytes is larger than {MAX_FRAME_BYTES}")
        end = _LENGTH.size + size
        if len(self._pending) < end:
            return None
        frame = bytes(self._pending[_LENGTH.size : end])
        del self._pending[:end]
        return frame

    def _decode(self, frame: bytes) -> Any:
        name, *fields = _unpack(frame)
        if name not in self._kinds:
            raise ProtocolError("an unknown message")
        return decode(self._kinds[name], fields)


def encode_frame(message: Any) -> bytes:
    """Raises:
    ProtocolError: the message is larger than a frame may be.
    """
    body: bytes = msgpack.packb([type(message).__name__, *as_plain(message)], default=as_plain)
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


class Link:
    """Messages over a blocking socket, of ``kinds`` where they are read; several threads may
    send."""

    def __init__(self, sock: socket.socket, *kinds: type) -> None:
        self._sock = sock
        self._buffer = FrameBuffer(*kinds)
        self._early: list[Any] = []
        self._sending = threading.Lock()
        self.closed = False

    def receive(self, *, block: bool, alarms: Sequence[socket.socket] = ()) -> list[Any]:
        """Frames that have arrived; with ``block``, waits for one or until one of ``alarms`` is
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

    def receive_one(self) -> Any | None:
        """The first message, or ``None`` if the other side left before it."""
        while not self.closed:
            if messages := self.receive(block=True):
                self._early = messages[1:]
                return messages[0]
        return None

    def send(self, message: Any) -> None:
        """Raises:
        ProtocolError: the message is larger than a frame may be.
        """
        frame = encode_frame(message)
        try:
            with self._sending:
                self._sock.sendall(frame)
        except ConnectionError:
            self.closed = True
