"""Fields that nobody knows: refused by a strict server, else ignored and said once in the log.

Knows names of fields and nothing of their values.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

__all__ = ["UnknownFields"]

_MAX_NAMES = 256
_MAX_LENGTH = 64
_log = logging.getLogger("unisono.server")


class UnknownFields:
    """The names that have been seen; so many at most, so that no client can fill the log."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def note(self, place: str, names: Iterable[str]) -> None:
        """Logs those that are new. ``place``: where in a body, such as ``messages[].``."""
        with self._lock:
            fresh = sorted({_printable(place + name) for name in names} - self._seen)
            fresh = fresh[: _MAX_NAMES - len(self._seen)]
            self._seen.update(fresh)
        if fresh:
            _log.warning(
                "Ignored fields of requests that are not known here: %s. Each is named once; "
                "--strict refuses them.",
                ", ".join(fresh),
            )


def _printable(name: str) -> str:
    text = name.encode("ascii", "backslashreplace").decode("ascii")
    return "".join(c if c.isprintable() else "?" for c in text)[:_MAX_LENGTH]
