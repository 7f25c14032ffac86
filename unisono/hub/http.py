"""Answers over HTTP, bounded in all that a server decides: where it leads, how long it takes, how
much it sends.

Knows no hub and no files. Standard library alone; proxies and certificates come from the
environment.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import urljoin, urlsplit

from unisono.core.errors import ConfigError
from unisono.core.folder_files import parse_json
from unisono.hub.addresses import ALLOW_HTTP, origin, refusal

_TIMEOUT_S = 30.0
_MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 20
_PATIENCE_S = 60.0
_LEAST_BYTES = 64 << 10
"""In ``_PATIENCE_S``; a server that sends less holds the download up."""


class TransferError(Exception):
    """The connection failed, or ended early too often; ``status`` is HTTP's and ``code`` the hub's,
    where there is one."""

    def __init__(self, message: str, status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to ``open_url``."""

    def http_error_302(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Message
    ) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def bearer(token: str | None, variable: str) -> dict[str, str]:
    """The header that shows a token; none without one.

    Raises:
        ConfigError: it holds what no token holds.
    """
    if not token:
        return {}
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError(
            f"The token in {variable} holds a character that no token has.", hint="Copy it again."
        )
    return {"Authorization": f"Bearer {token}"}


def open_url(url: str, secret_headers: Mapping[str, str], *, offset: int = 0) -> Any:
    """The response, as ``http.client`` gives it; ``secret_headers`` go to this origin alone,
    wherever the server leads.

    Raises:
        TransferError: no connection, an answer that is not success, or a redirect that is not
            followed.
    """
    home = url
    for _ in range(_MAX_REDIRECTS + 1):
        headers = {"User-Agent": "unisono", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if origin(url) == origin(home):
            headers |= secret_headers
        response = _response(urllib.request.Request(url, headers=headers))
        if isinstance(response, str):
            url = _followed(url, response)
            continue
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise TransferError("the server sends another encoding than it was asked for")
        return response
    raise TransferError(f"the server redirects more than {_MAX_REDIRECTS} times")


def _response(request: urllib.request.Request) -> Any:
    """A successful response; or the address to which the server leads."""
    try:
        return urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        location = error.headers.get("Location")
        if error.code in _REDIRECTS and location is not None:
            return str(location)
        code = error.headers.get("X-Error-Code", "")
        raise TransferError(f"HTTP {error.code} {error.reason}", error.code, code) from error
    except urllib.error.URLError as error:
        raise TransferError(str(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TransferError(str(error) or type(error).__name__) from error


def _followed(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
    except ValueError:
        target = location
    reason = refusal(target)
    if reason is None and urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise TransferError("refused to follow a redirect from https to http")
    if reason is not None:
        raise TransferError(
            f"refused to follow a redirect to {target!r:.200}, as {reason} ({ALLOW_HTTP}=1 allows"
            " plain http)"
        )
    return target


def read_json(url: str, secret_headers: Mapping[str, str], most: int) -> tuple[Any, Message]:
    """A JSON answer of at most ``most`` bytes, and its headers.

    Raises:
        TransferError: as ``open_url``, or an answer that does not end.
        ValueError: no JSON, or too much of it.
    """
    body = bytearray()
    end = time.monotonic() + _PATIENCE_S
    with open_url(url, secret_headers) as response:
        for chunk in chunks(response):
            body += chunk
            if len(body) > most:
                raise ValueError(f"an answer of more than {most} bytes")
            if time.monotonic() > end:
                raise TransferError(f"the answer is not complete after {_PATIENCE_S:.0f} s")
        return parse_json(bytes(body)), response.headers


def chunks(response: Any) -> Iterator[bytes]:
    """Yields the body of a response, until it or the connection ends.

    Raises:
        TransferError: the connection fails, or brings next to nothing.
    """
    since, count = time.monotonic(), 0
    try:
        while chunk := response.read1(_CHUNK):
            yield chunk
            count += len(chunk)
            if (now := time.monotonic()) - since > _PATIENCE_S:
                if count < _LEAST_BYTES:
                    raise TransferError(f"only {count} bytes came in {_PATIENCE_S:.0f} s")
                since, count = now, 0
    except http.client.IncompleteRead as error:
        yield error.partial
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TransferError(str(error) or type(error).__name__) from error
