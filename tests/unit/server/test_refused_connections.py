"""Answers to requests that are no HTTP, and to connections that are too many."""

from __future__ import annotations

import h11
import pytest

from unisono.server.api_error import ApiError
from unisono.server.http.protocol import _events


@pytest.mark.parametrize("closes", [False, True])
def test_the_end_of_the_connection_is_said_once(closes: bool) -> None:
    error = ApiError(503, "Try again.", code="full", retry_after_s=5, close=closes)
    connection = h11.Connection(h11.SERVER)
    written = b"".join(connection.send(event) or b"" for event in _events(error))
    head, _, body = written.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    assert status == "HTTP/1.1 503 Service Unavailable"
    headers = [line.split(": ", 1) for line in lines]
    names = [name.lower() for name, _ in headers]
    assert len(set(names)) == len(names), names
    values = {name.lower(): value for name, value in headers}
    assert (values["connection"], values["retry-after"]) == ("close", "5")
    assert len(values["x-request-id"]) == 32
    assert body == error.body()
