"""The store that a server's settings ask for."""

from __future__ import annotations

from unisono.server.responses.response_store import MemoryStore, ResponseStore, StoreLimits
from unisono.server.responses.sqlite_store import SqliteStore
from unisono.server.settings import ServerSettings


def open_store(settings: ServerSettings) -> ResponseStore:
    """Raises:
    ConfigError: the file cannot be used.
    """
    limits = StoreLimits(settings.limits.stored_responses, settings.limits.stored_bytes)
    return MemoryStore(limits) if settings.store is None else SqliteStore(settings.store, limits)
