"""Checks API keys. Knows keys as digests only; compares in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

__all__ = ["KeyRing", "sent_key"]

_TENANT_LENGTH = 16


class KeyRing:
    """Made from the keys; keeps their SHA-256 digests."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = tuple(_digest(key.encode()) for key in keys)

    @property
    def is_open(self) -> bool:
        """True where there is no key, and so everyone is let in."""
        return not self._digests

    def tenant(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The tenant behind the key in the headers, ``None`` if it is not let in.

        Compares with every key, so the time tells nothing about which one came close.
        """
        if self.is_open:
            return ""
        key = sent_key(headers)
        if key is None:
            return None
        given = _digest(key)
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return given.hex()[:_TENANT_LENGTH] if any(matches) else None


def sent_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key as OpenAI's clients send it (``Authorization: Bearer KEY``), or as Anthropic's
    (``X-Api-Key``) and Azure's (``api-key``) do."""
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return key.strip()
    found = headers.get(b"x-api-key", headers.get(b"api-key"))
    return None if found is None else found.strip()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
