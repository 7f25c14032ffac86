"""Checks the addresses that a download may go to.

On plain http whoever is on the way reads the token and changes the files, so it takes the user's
word; what stays on this machine takes none.
"""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from unisono.core.errors import ConfigError

ALLOW_HTTP = "UNISONO_ALLOW_HTTP"


def check_endpoint(address: str, variable: str) -> str:
    """A hub's address, as the environment ``variable`` gives it; without a slash at its end.

    Raises:
        ConfigError: nothing is fetched from there.
    """
    address = address.strip().rstrip("/")
    if reason := refusal(address):
        raise ConfigError(
            f"{variable} {address!r:.200} cannot be used: {reason}.",
            hint=f"Give an https address. For a mirror that has none, in a network that you trust, "
            f"set {ALLOW_HTTP}=1.",
        )
    return address


def refusal(url: str) -> str | None:
    """Reason why nothing is fetched from ``url``; None where it may be."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not url.isprintable():
        return "it is no http(s) address"
    if parts.username is not None:
        return "it holds a user name"
    if parts.scheme == "http" and not _is_loopback(host) and not _http_is_allowed():
        return "plain http can be read and changed on the way"
    return None


def origin(url: str) -> tuple[str, str | None, int]:
    """Scheme, host and port of an address that is not refused."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _http_is_allowed() -> bool:
    return os.environ.get(ALLOW_HTTP, "").upper() in {"1", "ON", "YES", "TRUE"}
