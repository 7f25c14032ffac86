"""Lines of a batch's file: requests that go in, results that come out.

Knows their form; nothing of HTTP or of how a request is answered.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_MAX_ERRORS = 100
_MAX_ID = 512


@dataclass(frozen=True)
class LineLimits:
    """Limits of a batch: lines of its file, and bytes of a line."""

    lines: int
    line_bytes: int


class LineError(Exception):
    """The reason why a line is no request."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


def check_file(path: Path, endpoint: str, limits: LineLimits) -> tuple[int, list[Json]]:
    """The number of requests, and errors as OpenAI has them: the first hundred."""
    errors: list[Json] = []
    seen: set[str] = set()
    number = 0
    for number, line in _lines(path, limits.line_bytes):
        try:
            if len(seen) == limits.lines:
                raise LineError("too_many_lines", f"A batch has at most {limits.lines} requests.")
            name = read_line(line, endpoint, limits)["custom_id"]
            if name in seen:
                raise LineError("duplicate_custom_id", "This custom_id is used twice.", "custom_id")
            seen.add(name)
        except LineError as error:
            said = {"code": error.code, "message": str(error), "param": error.param}
            errors.append({**said, "line": number})
        if len(errors) == _MAX_ERRORS or (len(seen) == limits.lines and errors):
            break
    if not (seen or errors):
        message = "The file has no requests."
        errors.append({"code": "empty_file", "message": message, "param": None, "line": None})
    return len(seen), errors


def read_line(line: bytes, endpoint: str, limits: LineLimits) -> Json:
    """Raises:
    LineError: it is no request to the endpoint.
    """
    if len(line) > limits.line_bytes:
        message = f"A line has at most {limits.line_bytes} bytes."
        raise LineError("line_too_large", message)
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError("invalid_json_line", "This line is not valid JSON.") from error
    if not isinstance(value, dict):
        raise LineError("invalid_json_line", "This line is no JSON object.")
    name = value.get("custom_id")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_ID:
        message = f"custom_id should be a text of 1 to {_MAX_ID} characters."
        raise LineError("missing_custom_id", message, "custom_id")
    if value.get("method") != "POST":
        raise LineError("invalid_method", "method should be 'POST'.", "method")
    if value.get("url") != endpoint:
        raise LineError("mismatched_url", "url should be the endpoint of the batch.", "url")
    body = value.get("body")
    if not isinstance(body, dict):
        raise LineError("missing_body", "body should be an object.", "body")
    if body.get("stream"):
        raise LineError("stream_not_supported", "A batch has no streams.", "body.stream")
    return value


def requests_of(path: Path, endpoint: str, limits: LineLimits) -> Iterator[Json]:
    """Requests of a file that was checked."""
    for _, line in _lines(path, limits.line_bytes):
        yield read_line(line, endpoint, limits)


def answered_in(path: Path) -> set[str]:
    """Requests whose results a file has already; what was being written when the server ended is
    cut off."""
    found: set[str] = set()
    if not path.exists():
        return found
    with path.open("r+b") as file:
        whole = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            found.add(json.loads(line)["custom_id"])
        file.truncate(whole)
    return found


def append_result(path: Path, result: Json) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "ab") as file:
        file.write(json.dumps(result, ensure_ascii=False).encode() + b"\n")


def result_of(custom_id: str, response: Json | None, error: Json | None = None) -> Json:
    name = f"batch_req_{secrets.token_hex(12)}"
    return {"id": name, "custom_id": custom_id, "response": response, "error": error}


def _lines(path: Path, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Lines that are not empty, with their numbers; one that is too long as far as that is seen."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(most_bytes + 2):
            number += 1
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(most_bytes)
            if line.strip():
                yield number, line.rstrip(b"\r\n")
