"""Paths, methods and ids of every request and response, before anything is checked.

Paths as clients write them become those of the routes; HEAD is GET without the body; each response
carries ``x-request-id`` and what a browser needs to know. Pure ASGI.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unisono.server.http.web_origins import WebOrigins

ROUTES = (
    *("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/messages"),
    *("/v1/files", "/v1/batches"),
    *("/v1/responses", "/api/chat", "/api/generate", "/api/tags", "/api/show", "/api/ps"),
    *("/api/version", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
    *("/v1/embeddings", "/v1/score", "/v1/rerank", "/v2/rerank"),
    *("/tokenize", "/detokenize", "/health", "/metrics", "/openapi.json", "/docs", "/version"),
)
_OF_V1 = tuple(path.removeprefix("/v1") for path in ROUTES if path.startswith("/v1"))
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")


class Front:
    def __init__(self, app: ASGIApp, *, origins: WebOrigins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        is_head = scope["method"] == "HEAD"
        added = [
            (b"x-request-id", request_id(headers)),
            *self._origins.response_headers(headers),
        ]

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        path = route_path(scope["path"])
        method = "GET" if is_head else scope["method"]
        await self._app({**scope, "path": path, "method": method}, receive, send_on)


def request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The client's, if it is one; else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16).encode()


def route_path(path: str) -> str:
    """The path of the route that is meant: without a slash too many, with ``/v1`` once where it
    belongs. Clients put base URLs and paths together in all ways."""
    clean = "/" + "/".join(part for part in path.split("/") if part)
    while clean.startswith("/v1/v1/") or clean == "/v1/v1":
        clean = clean.removeprefix("/v1")
    if _is_below(clean, _OF_V1):
        return "/v1" + clean
    bare = clean.removeprefix("/v1")
    return bare if clean != bare and _is_below(bare, ROUTES) else clean


def _is_below(path: str, routes: tuple[str, ...]) -> bool:
    return any(path == route or path.startswith(route + "/") for route in routes)
