"""The one door: every request passes here before any route sees it.

Denies by default: without a key only ``/health`` answers. Also refuses what is too large, what
comes while the server drains or from a foreign web page, answers browsers that ask first, catches
whatever a route did not, and lets go of clients that leave. Pure ASGI: bodies stream through
untouched.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from unisono.server.api_error import ApiError, error_response, log_failure
from unisono.server.http.json_body import body_too_large, discard_body
from unisono.server.http.visit import Visit
from unisono.server.http.web_origins import WebOrigins
from unisono.server.metrics import Metrics
from unisono.server.settings import Limits

_PUBLIC_PATHS = frozenset({"/health"})
_READING_METHODS = frozenset({"GET"})
_UPLOADS = "/v1/files"
"""The route whose bodies are files, with a limit of their own."""
_RETRY_AFTER_S = 5
_TENANT_LENGTH = 16
_log = logging.getLogger("unisono.server")


@dataclass
class Gate:
    """Counts the requests inside, and says whether more may come."""

    draining: bool = False
    num_inside: int = 0


class KeyRing:
    """Keys as SHA-256 digests; compares in constant time."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = tuple(_digest(key.encode()) for key in keys)

    def tenant(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The tenant behind the key in the headers, ``None`` if it is not let in. Where there are
        no keys everyone is.

        Compares with every key, so the time tells nothing about which one came close.
        """
        if not self._digests:
            return ""
        key = _sent_key(headers)
        if key is None:
            return None
        given = _digest(key)
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return given.hex()[:_TENANT_LENGTH] if any(matches) else None


def _sent_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key as OpenAI's clients send it (``Authorization: Bearer KEY``), or as Anthropic's
    (``X-Api-Key``) and Azure's (``api-key``) do."""
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return key.strip()
    found = headers.get(b"x-api-key", headers.get(b"api-key"))
    return None if found is None else found.strip()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


@dataclass
class Guard:
    app: ASGIApp
    _: KW_ONLY
    origins: WebOrigins
    keys: KeyRing
    limits: Limits
    gate: Gate
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._guarded(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = Visit(receive, send)
        self.gate.num_inside += 1
        try:
            await self._answer(scope, visit)
        except asyncio.CancelledError:
            if not visit.client_left:
                raise
        finally:
            visit.close()
            self.gate.num_inside -= 1
            self._count(visit)

    async def _answer(self, scope: Scope, visit: Visit) -> None:
        scope.setdefault("state", {})["visit"] = visit
        try:
            app = self._check(scope) or self.app
            await app(scope, visit.receive, visit.send)
        except Exception as error:
            log_failure(_log, error)
            if visit.status is None:
                if isinstance(error, ApiError) and error.status == 413:
                    await discard_body(visit)
                await error_response(error)(scope, visit.receive, visit.send)

    def _count(self, visit: Visit) -> None:
        if visit.client_left:
            self.metrics.client_left()
        elif visit.status is not None:
            self.metrics.response(visit.status)

    def _check(self, scope: Scope) -> Response | None:
        """The answer to a browser that asks first, which has no key to send.

        Raises:
            ApiError: this request is not let in.
        """
        headers = dict(scope["headers"])
        self._check_headers(scope)
        self.origins.check(scope["method"], headers)
        preflight = self.origins.preflight(scope["method"], headers)
        if preflight is not None:
            response = Response(status_code=204)
            response.raw_headers += preflight
            return response
        tenant = self.keys.tenant(headers)
        if tenant is None and scope["path"] not in _PUBLIC_PATHS:
            raise _unauthorized(_sent_key(headers) is not None)
        scope["state"]["tenant"] = tenant or ""
        if scope["method"] not in _READING_METHODS:
            self._check_room()
            self._check_length(scope["path"], headers.get(b"content-length", b"0"))
        return None

    def _check_headers(self, scope: Scope) -> None:
        size = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
        size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > self.limits.header_bytes:
            message = f"The headers are larger than the {self.limits.header_bytes} bytes allowed."
            raise ApiError(431, message, code="headers_too_large", close=True)

    def _check_room(self) -> None:
        if self.gate.draining:
            raise ApiError(
                503,
                "The server is shutting down. Send the request to another one, or again later.",
                code="draining",
                retry_after_s=_RETRY_AFTER_S,
                close=True,
            )
        if self.gate.num_inside > self.limits.in_flight:
            raise ApiError(
                429,
                f"More than {self.limits.in_flight} requests at once. Try again later.",
                code="too_many_requests",
                retry_after_s=_RETRY_AFTER_S,
            )

    def _check_length(self, path: str, content_length: bytes) -> None:
        limits = self.limits
        most = limits.file_bytes if path == _UPLOADS else limits.body_bytes
        if not content_length.isdigit() or int(content_length[:20]) > most:
            raise body_too_large(most)


def _unauthorized(has_key: bool) -> ApiError:
    if has_key:
        return ApiError(401, "This API key is not known here.", code="invalid_api_key")
    message = "An API key is missing. Send the header 'Authorization: Bearer KEY'."
    return ApiError(401, message, code="missing_api_key")
