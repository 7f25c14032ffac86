"""Forms as browsers and clients upload files in them (multipart/form-data, RFC 7578).

The body lies in a file; its parts are found there, so that a large one is never in memory. Knows
the format; nothing of HTTP or of what is uploaded.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path

from unisono.server.api_error import ApiError, bad_request

_MAX_PARTS = 16
_MAX_HEADER = 8 * 2**10
_MAX_BOUNDARY = 70
_MAX_FIELD = 4 * 2**10


@dataclass(frozen=True)
class Part:
    """One part of a form, from ``start`` to ``end`` of the body."""

    name: str
    filename: str | None
    start: int
    end: int


def form_boundary(content_type: str) -> bytes:
    """Raises:
    ApiError: this is the content type of no form.
    """
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    is_form = header.get_content_type() == "multipart/form-data"
    if not (is_form and isinstance(boundary, str) and 0 < len(boundary) <= _MAX_BOUNDARY):
        raise bad_request("Send the file as multipart/form-data, with a boundary.", param="file")
    return b"--" + boundary.encode("latin-1", "replace")


def read_form(path: Path, boundary: bytes) -> dict[str, Part]:
    """Parts by name, of a body that lies in a file.

    Raises:
        ApiError: it is no form, or has a part without a name, or two of one.
    """
    if not path.stat().st_size:
        raise _no_form()
    parts: dict[str, Part] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
        for part in _parts(body, boundary):
            if part.name in parts or len(parts) == _MAX_PARTS:
                raise _no_form()
            parts[part.name] = part
    return parts


def field_text(path: Path, part: Part) -> str:
    """The text of a short part.

    Raises:
        ApiError: it is long, or no text.
    """
    with path.open("rb") as file:
        file.seek(part.start)
        content = file.read(min(part.end - part.start, _MAX_FIELD + 1))
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise bad_request(f"{part.name}: Input should be a text.", param=part.name) from error
    if len(content) > _MAX_FIELD:
        raise bad_request(f"{part.name}: The text is too long.", param=part.name)
    return text


def _parts(body: mmap.mmap, boundary: bytes) -> Iterator[Part]:
    at = body.find(boundary)
    while at >= 0:
        at += len(boundary)
        if body[at : at + 2] == b"--":
            return
        head_end = body.find(b"\r\n\r\n", at, at + _MAX_HEADER)
        end = body.find(b"\r\n" + boundary, max(head_end + 2, 0))
        if head_end < 0 or end < 0:
            break
        header = BytesHeaderParser().parsebytes(body[at + 2 : head_end + 4])
        name = header.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            break
        yield Part(name, header.get_filename(), min(head_end + 4, end), end)
        at = end + 2
    raise _no_form()


def _no_form() -> ApiError:
    return bad_request("The body is no whole multipart/form-data.", code="invalid_encoding")
