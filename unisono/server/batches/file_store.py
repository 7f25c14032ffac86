"""Uploaded files and results: what they are called, and their bytes, within bounds.

Knows files and their records; nothing of HTTP or of what the bytes say.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from unisono.server.api_error import ApiError
from unisono.server.batches.records import Records, new_id

Json = dict[str, Any]
_DATA = ".data"


class FileStore:
    """Args:
    most_bytes: of all files together; results of batches come on top.
    most_files: of one tenant.
    """

    def __init__(self, root: Path, *, most_bytes: int, most_files: int) -> None:
        self.root = root
        self._records = Records(root, "files")
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._num_bytes = sum(path.stat().st_size for path in root.glob(f"*/files/*{_DATA}"))
        self._num_arriving = 0

    def arrive(self, num_bytes: int) -> None:
        """Makes room for bytes that come, or gives it back.

        Raises:
            ApiError: there is none.
        """
        if num_bytes > 0 and self._num_bytes + self._num_arriving + num_bytes > self._most_bytes:
            message = "The folder of files is full: delete files that are of no more use."
            raise ApiError(400, message, code="storage_full")
        self._num_arriving += num_bytes

    def check_room(self, tenant: str) -> None:
        """Raises:
        ApiError: the tenant has as many files as it may.
        """
        if len(self._records.newest_first(tenant)) >= self._most_files:
            message = f"There are {self._most_files} files already: delete some."
            raise ApiError(400, message, code="storage_full")

    def add(
        self, tenant: str, source: Path, *, filename: str, purpose: str, name: str | None = None
    ) -> Json:
        """Takes the file over; done twice under one name, it is done once.

        Returns:
            Its record, an object of OpenAI's.
        """
        name = name or new_id("file-")
        path = self._records.path(tenant, name, _DATA)
        self._records.make_folder(tenant)
        if source.exists():
            os.replace(source, path)
            self._num_bytes += path.stat().st_size
        record = {
            "id": name,
            "object": "file",
            "bytes": path.stat().st_size,
            "created_at": int(time.time()),
            "expires_at": None,
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
        }
        self._records.save(tenant, record)
        return record

    def get(self, tenant: str, name: str) -> Json | None:
        return self._records.get(tenant, name)

    def data(self, tenant: str, name: str) -> Path | None:
        """The file with the bytes, if there is such a one."""
        if self.get(tenant, name) is None:
            return None
        return self._records.path(tenant, name, _DATA)

    def newest_first(self, tenant: str) -> list[Json]:
        return self._records.newest_first(tenant)

    def delete(self, tenant: str, name: str) -> bool:
        """Returns whether there was one."""
        record = self.get(tenant, name)
        if record is None or not self._records.delete(tenant, name):
            return False
        self._num_bytes -= record["bytes"]
        self._records.path(tenant, name, _DATA).unlink(missing_ok=True)
        return True
