"""Objects in a folder, each a small file of JSON that its owner alone may read: by tenant and id.

A file is replaced at once, so that whatever ends the server leaves a whole one. Ids are made here,
and none that a client sends becomes a path before it is seen to be one. Knows files; nothing of
what the objects are.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_ID = re.compile(r"(file-|batch_)[0-9a-f]{24}")
_EVERYONE = "everyone"
"""Folder of the one tenant of a server without keys."""


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(12)}"


class Records:
    """Args:
    root: folder of all tenants.
    kind: name of the folder of each tenant.
    """

    def __init__(self, root: Path, kind: str) -> None:
        self._root = root
        self._kind = kind
        self._lock = threading.Lock()

    def get(self, tenant: str, name: str) -> Json | None:
        if not _ID.fullmatch(name):
            return None
        try:
            return json.loads(self.path(tenant, name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def save(self, tenant: str, record: Json) -> None:
        path = self.path(tenant, record["id"])
        scratch = path.with_suffix(".new")
        self.make_folder(tenant)
        with self._lock:
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(json.dumps(record).encode())
            os.replace(scratch, path)

    def make_folder(self, tenant: str) -> None:
        folder = self._folder(tenant)
        for each in (folder.parent, folder):
            each.mkdir(exist_ok=True, mode=0o700)

    def delete(self, tenant: str, name: str) -> bool:
        if self.get(tenant, name) is None:
            return False
        self.path(tenant, name).unlink()
        return True

    def newest_first(self, tenant: str) -> list[Json]:
        names = [path.stem for path in self._folder(tenant).glob("*.json")]
        found = [record for name in names if (record := self.get(tenant, name)) is not None]
        return sorted(found, key=lambda one: (one["created_at"], one["id"]), reverse=True)

    def everyones(self) -> Iterator[tuple[str, Json]]:
        """All records with their tenants, the oldest of each tenant first."""
        for folder in sorted(self._root.iterdir()):
            if folder.is_dir():
                tenant = "" if folder.name == _EVERYONE else folder.name
                yield from ((tenant, one) for one in reversed(self.newest_first(tenant)))

    def path(self, tenant: str, name: str, suffix: str = ".json") -> Path:
        """A file that belongs to the record."""
        return self._folder(tenant) / f"{name}{suffix}"

    def _folder(self, tenant: str) -> Path:
        return self._root / (tenant or _EVERYONE) / self._kind
