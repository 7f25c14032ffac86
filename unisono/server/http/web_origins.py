"""Checks the web pages that may use the server, and the names it answers to.

A page of any site can make its visitor's browser send requests to a server on the same machine or
network. With a key that is no harm: the page does not have it. Without one, requests that a foreign
page may have caused are refused. Three ways there are: another ``Origin`` (or ``Sec-Fetch-Site``),
a foreign ``Host`` (a name of the page's that was made to point here: DNS rebinding), and a content
type that a browser sends without asking first. Knows headers only.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from unisono.server.api_error import ApiError
from unisono.server.settings import is_address, is_loopback

Headers = Mapping[bytes, bytes]

_ANY = "*"
_MAX_AGE_S = b"600"
_EXPOSED = b"x-request-id, retry-after"
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1024}")
_USUAL_HEADERS = b"authorization, content-type, x-api-key, api-key, x-request-id"


class WebOrigins:
    """Args:
    cors_origins: origins of pages that are let in, as browsers write them; ``*`` is all. Pages of
        this machine are let in without that.
    allowed_hosts: names that the server is reached by, beside its address; ``*`` is all.
    host: the address that it listens on.
    needs_key: whether requests without a key are refused anyhow.
    """

    def __init__(
        self,
        *,
        cors_origins: Sequence[str] = (),
        allowed_hosts: Sequence[str] = (),
        host: str = "127.0.0.1",
        needs_key: bool = False,
    ) -> None:
        self._origins = frozenset(origin.lower().rstrip("/") for origin in cors_origins)
        self._hosts = frozenset(_host_name(name) for name in (*allowed_hosts, host))
        self._needs_key = needs_key
        self._checks_host = not needs_key or bool(allowed_hosts)
        self._is_public = not is_loopback(host)
        if self._is_public:
            self._hosts |= {socket.gethostname().lower()}

    def check(self, method: str, headers: Headers) -> None:
        """Raises:
        ApiError: a foreign page may have caused this request.
        """
        host = headers.get(b"host", b"").decode("latin-1")
        if self._checks_host and host and not self._is_own_host(host):
            raise ApiError(
                403,
                "This server does not go by that name in the Host header. "
                "Start it with --allowed-host NAME to let it.",
                code="host_not_allowed",
            )
        if self._needs_key:
            return
        if self._is_foreign(headers):
            raise _origin_not_allowed()
        if method == "POST" and b"origin" in headers and not _is_json(headers):
            raise ApiError(
                415,
                "A web page sends 'Content-Type: application/json' with its requests.",
                code="unsupported_media_type",
            )

    def response_headers(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Headers that tell a browser whether its page may read the response."""
        origin = headers.get(b"origin")
        if _ANY in self._origins:
            found = [(b"access-control-allow-origin", b"*")] if origin else []
        else:
            found = [(b"vary", b"Origin")]
            if origin and self._may_read(origin, headers):
                found.append((b"access-control-allow-origin", origin))
        return [*found, (b"access-control-expose-headers", _EXPOSED)] if origin else found

    def preflight(self, method: str, headers: Headers) -> list[tuple[bytes, bytes]] | None:
        """The headers of the answer, where this is a browser that asks first; else ``None``.

        Raises:
            ApiError: its page is not let in.
        """
        origin = headers.get(b"origin")
        if method != "OPTIONS" or not origin or b"access-control-request-method" not in headers:
            return None
        if not self._may_read(origin, headers):
            raise _origin_not_allowed()
        wanted = headers.get(b"access-control-request-headers", b"")
        answer = [
            (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE, OPTIONS"),
            (
                b"access-control-allow-headers",
                wanted if _HEADER_NAMES.fullmatch(wanted) else _USUAL_HEADERS,
            ),
            (b"access-control-max-age", _MAX_AGE_S),
            (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]
        if headers.get(b"access-control-request-private-network") == b"true":
            answer.append((b"access-control-allow-private-network", b"true"))
        return answer

    def _is_own_host(self, host: str) -> bool:
        """A name without a dot is no name of the public web, so no page comes from one."""
        name = _host_name(host)
        if _ANY in self._hosts or name in self._hosts or is_loopback(name):
            return True
        return self._is_public if is_address(name) else "." not in name

    def _is_foreign(self, headers: Headers) -> bool:
        origin = headers.get(b"origin")
        if origin:
            return not self._may_read(origin, headers)
        is_cross = headers.get(b"sec-fetch-site") == b"cross-site"
        return is_cross and headers.get(b"sec-fetch-mode") != b"navigate"

    def _may_read(self, origin: bytes, headers: Headers) -> bool:
        text = origin.decode("latin-1").lower()
        if _ANY in self._origins or text in self._origins:
            return True
        scheme, _, place = text.partition("://")
        if scheme not in ("http", "https"):
            return False
        return (
            is_loopback(_host_name(place))
            or place.encode("latin-1") == headers.get(b"host", b"").lower()
        )


def _origin_not_allowed() -> ApiError:
    return ApiError(
        403,
        "Pages of that origin may not use this server. "
        "Start it with --cors-origin ORIGIN to let them.",
        code="origin_not_allowed",
    )


def _host_name(host: str) -> str:
    """``[::1]:8000`` -> ``::1``, ``Name.:80`` -> ``name``; what is neither stays foreign."""
    if host == _ANY:
        return host
    try:
        if is_address(host):
            return host
        return (urlsplit(f"//{host}").hostname or host).rstrip(".")
    except ValueError:
        return host


def _is_json(headers: Headers) -> bool:
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    return kind == b"application/json" or kind.endswith(b"+json")
