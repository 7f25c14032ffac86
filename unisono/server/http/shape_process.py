"""The process that looks at large bodies, so that no byte of them holds up anyone else.

Knows frames on its standard streams and ``body_shape``. It runs with less priority than the server
and ends with it. Each message is a body with the limits that it has to keep, each reply is empty or
an error.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import BinaryIO

from unisono.server.api_error import ApiError
from unisono.server.http.body_shape import ShapeLimits, check_shape

__all__ = ["HEAD", "REPLY", "main"]

HEAD = struct.Struct("<QII")
"""Bytes of the body, depth, context."""
REPLY = struct.Struct("<H")
"""Bytes of the reply that follows."""
_NICENESS = 5


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Until ``source`` ends."""
    while len(head := source.read(HEAD.size)) == HEAD.size:
        size, depth, context = HEAD.unpack(head)
        body = source.read(size)
        if len(body) < size:
            return
        reply = _reply(body, ShapeLimits(depth, context))
        del body
        target.write(REPLY.pack(len(reply)) + reply)
        target.flush()


def _reply(body: bytes, limits: ShapeLimits) -> bytes:
    try:
        check_shape(body, limits)
    except ApiError as error:
        return "\n".join([error.code or "", error.message]).encode()
    return b""


def main() -> None:
    os.nice(_NICENESS)
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
