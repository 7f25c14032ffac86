"""Bodies that clients have compressed, up to a size: what is small here may be huge there.

Knows bytes only.
"""

from __future__ import annotations

import zlib

from unisono.server.api_error import ApiError, bad_request

__all__ = ["TooLargeError", "check_encoding", "decoded"]

_GZIP = zlib.MAX_WBITS | 16
_RAW = -zlib.MAX_WBITS
_NAMES = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
_MAX_MEMBERS = 64


class TooLargeError(Exception):
    """There is more in it than allowed."""


def check_encoding(header: str | None) -> str | None:
    """The name of the encoding, ``None`` for a body that is as it is.

    Raises:
        ApiError: an encoding that is not read here.
    """
    name = (header or "").strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _NAMES:
        message = "This Content-Encoding is not read here: send gzip, deflate or none."
        raise ApiError(415, message, code="unsupported_encoding")
    return name


def decoded(body: bytes | bytearray, name: str, max_bytes: int) -> bytearray:
    """The body as it was before the client compressed it; no more than that is ever held.

    Raises:
        TooLargeError: it is larger than ``max_bytes``.
        ApiError: it is not what its encoding says.
    """
    bits = _NAMES[name]
    if name == "deflate" and not _has_zlib_header(body):
        bits = _RAW  # what some clients take deflate for
    try:
        return _inflated(body, bits, max_bytes)
    except zlib.error as error:
        raise _broken(name) from error


def _inflated(body: bytes | bytearray, bits: int, max_bytes: int) -> bytearray:
    inflated = bytearray()
    left = max_bytes
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(bits)
        part = member.decompress(body, left + 1)
        if len(part) > left:
            raise TooLargeError
        inflated += part
        left -= len(part)
        if not member.eof:
            raise zlib.error("incomplete")
        body = member.unused_data
        if not body:
            return inflated
    raise zlib.error("too many members")


def _has_zlib_header(body: bytes | bytearray) -> bool:
    return len(body) >= 2 and body[0] & 15 == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0


def _broken(name: str) -> ApiError:
    return bad_request(f"The body is not {name}, or not all of it.", code="invalid_encoding")
