"""Checks what a hub says about a repository's files (names, sizes, hashes) before it is used.

A name becomes a path in the cache and a size the bound of a download, whoever sent them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError
from unisono.hub.files import is_wanted

_MAX_FILE_BYTES = 1 << 42
_MAX_COMPONENT_BYTES = 200
_NOT_IN_NAMES = frozenset('\\:*?"<>|')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_UNSAFE = "A hub's files have plain names, sizes and hashes: this one is broken or hostile."


@dataclass(frozen=True, slots=True)
class RemoteFile:
    path: str
    """Relative to the repository's root."""
    size: int
    digest: str
    """SHA-256 (64 hex digits) or git blob id (40); ``""`` where the hub publishes none."""

    def is_at(self, path: Path) -> bool:
        """Returns whether all of it is there, by its size."""
        return path.is_file() and path.stat().st_size == self.size


def wanted_files(
    listed: Iterable[tuple[Any, Any, Any]], *, all_hashed: bool = False
) -> list[RemoteFile]:
    """Filters the listed files (path, size, digest) to those that are wanted, in order of names.

    Args:
        all_hashed: the hub publishes a hash for every file, not for weights alone.

    Raises:
        CheckpointError: a name that leads out of the repository or is no plain one, two that some
            file systems take for one, a size or a hash that cannot be, weights without a hash.
    """
    files: dict[str, RemoteFile] = {}
    for path, size, digest in listed:
        if not isinstance(path, str) or _leads_out(path):
            raise CheckpointError(
                f"The repository lists a file outside itself: {path!r:.200}.", hint=_UNSAFE
            )
        if not is_wanted(path):
            continue
        if not is_safe_path(path):
            raise CheckpointError(
                f"The repository lists a file that is no plain name: {path!r:.200}.", hint=_UNSAFE
            )
        folded = unicodedata.normalize("NFKC", path).casefold()
        if folded in files:
            raise CheckpointError(f"The repository lists {path!r:.200} twice.", hint=_UNSAFE)
        files[folded] = RemoteFile(path, _size(path, size), _digest(path, digest))
        if not files[folded].digest and (all_hashed or path.endswith(".safetensors")):
            raise CheckpointError(
                f"The hub publishes no hash for {path!r:.200}, so it cannot be checked.",
                hint="Use another hub or mirror, or a folder that you trust.",
            )
    return sorted(files.values(), key=lambda file: file.path)


def is_safe_path(path: str) -> bool:
    """Returns whether a relative path with ``/`` stays in its folder and is plain everywhere."""
    return not _leads_out(path) and all(_is_plain(part) for part in path.split("/"))


def _leads_out(path: str) -> bool:
    return path.startswith("/") or "\0" in path or ".." in re.split(r"[/\\]", path)


def _is_plain(part: str) -> bool:
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        return False
    return (
        0 < size <= _MAX_COMPONENT_BYTES
        and part.isprintable()
        and not _NOT_IN_NAMES & set(part)
        and part[-1] not in ". "
        and not _DEVICES.fullmatch(part)
    )


def _size(path: str, size: Any) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _MAX_FILE_BYTES:
        raise CheckpointError(
            f"The repository lists {path!r:.200} with a size of {size!r:.40}.", hint=_UNSAFE
        )
    return size


def _digest(path: str, digest: Any) -> str:
    digest = "" if digest is None else digest
    if not isinstance(digest, str) or (digest and not _DIGEST.fullmatch(digest.lower())):
        raise CheckpointError(
            f"The repository lists {path!r:.200} with a hash that is none: {digest!r:.80}.",
            hint=_UNSAFE,
        )
    return digest.lower()
