"""Request bodies: decompressed up to a size, then strict JSON.

Knows bytes and JSON; nothing of routes. Stricter than ``json.loads``: no NaN, no numbers beyond
float range, no duplicate keys, no lone surrogates.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import zlib
from typing import Any

from unisono.server.api_error import ApiError, bad_request
from unisono.server.http.visit import Visit
from unisono.server.settings import Limits

_GZIP = zlib.MAX_WBITS | 16
_RAW = -zlib.MAX_WBITS
_NAMES = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
_MAX_MEMBERS = 64
_MAX_KEYS = 4096
_DISCARD_S = 2.0
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


async def discard_body(visit: Visit) -> None:
    """Reads away, for a while, what a client still sends: a connection that is closed over unread
    bytes takes the answer back."""

    async def drain() -> None:
        while not visit.has_whole_body and (await visit.receive()).get("more_body", False):
            pass

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(drain(), _DISCARD_S)


def body_too_large(most_bytes: int) -> ApiError:
    message = f"The body is larger than the {most_bytes} bytes allowed."
    return ApiError(413, message, code="body_too_large", close=True)


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


def decoded(body: bytes | bytearray, name: str, limits: Limits) -> bytearray:
    """The body as it was before the client compressed it; what is small here may be huge there, so
    no more than its limit is ever held.

    Raises:
        ApiError: it is larger than that, or not what its encoding says.
    """
    bits = _NAMES[name]
    if name == "deflate" and not _has_zlib_header(body):
        bits = _RAW  # what some clients take deflate for
    try:
        return _inflated(body, bits, limits)
    except zlib.error as error:
        message = f"The body is not {name}, or not all of it."
        raise bad_request(message, code="invalid_encoding") from error


def _inflated(body: bytes | bytearray, bits: int, limits: Limits) -> bytearray:
    inflated = bytearray()
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(bits)
        inflated += member.decompress(body, limits.body_bytes - len(inflated) + 1)
        if len(inflated) > limits.body_bytes:
            raise body_too_large(limits.body_bytes)
        if not member.eof:
            raise zlib.error("incomplete")
        body = member.unused_data
        if not body:
            return inflated
    raise zlib.error("too many members")


def _has_zlib_header(body: bytes | bytearray) -> bool:
    return len(body) >= 2 and body[0] & 15 == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0


def parse_json(body: bytearray) -> Any:
    """The value of a body whose shape has been checked, so that it is not nested too deep.

    ``body`` is emptied on the way: a large one is never held as bytes, text and value at once.

    Raises:
        ApiError: not strict JSON.
    """
    if not body or body.isspace():
        raise bad_request("The body is empty: send a JSON object.", code="invalid_json")
    try:
        text = body.decode("utf-8-sig")
        has_surrogates = _SURROGATE.search(body) is not None
        body.clear()
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        del text
        if has_surrogates:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise bad_request("The body is not valid UTF-8.", code="invalid_utf8") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise bad_request(f"The body is not valid JSON ({where}).", code="invalid_json") from error
    except ValueError as error:
        raise bad_request("A number in the body is too large.", code="invalid_json") from error
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MAX_KEYS:
        raise bad_request(f"An object in the body has more than {_MAX_KEYS} keys.")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise bad_request("The body names a key twice in one object.", code="invalid_json")
    return fields


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("out of range")
    return number


def _no_constant(name: str) -> None:
    raise bad_request(f"{name} is not a JSON number.", code="invalid_json")
