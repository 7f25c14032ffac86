"""Responses kept in a file of SQLite, so that they outlive the server.

Only the owner of the file may read it, one server at a time uses it, and what is deleted is
overwritten. All work is done in one thread beside the event loop. Knows SQL; nothing of what a
record says.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from unisono.core.errors import ConfigError
from unisono.server.api_error import ApiError
from unisono.server.responses.response_store import StoreLimits

_APPLICATION_ID = 0x756E6973
_VERSION = 1
_WAIT_S = 0.2
"""For another server that is about to leave the file."""
_SCHEMA = f"""
CREATE TABLE responses (
    tenant TEXT NOT NULL, id TEXT NOT NULL, used INTEGER NOT NULL, size INTEGER NOT NULL,
    record BLOB NOT NULL, PRIMARY KEY (tenant, id)
);
CREATE INDEX by_use ON responses (tenant, used, size);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""
T = TypeVar("T")


class SqliteStore:
    """Args:
    path: made, if there is no such file.

    Raises:
        ConfigError: it cannot be used, holds something else, or another server uses it.
    """

    def __init__(self, path: Path, limits: StoreLimits) -> None:
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="responses")
        try:
            _make_private(path)
            self._db = sqlite3.connect(
                path, check_same_thread=False, isolation_level=None, timeout=_WAIT_S
            )
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from error

    async def get(self, tenant: str, name: str) -> bytes | None:
        return await self._do(lambda: self._get(tenant, name))

    async def put(self, tenant: str, name: str, record: bytes) -> bool:
        if len(record) > self._limits.num_bytes:
            return False
        await self._do(lambda: self._put(tenant, name, record))
        return True

    async def delete(self, tenant: str, name: str) -> bool:
        command = "DELETE FROM responses WHERE tenant = ? AND id = ?"
        return await self._do(lambda: self._db.execute(command, (tenant, name)).rowcount > 0)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._db.close()

    async def _do(self, work: Callable[[], T]) -> T:
        """Raises:
        ApiError: the file cannot be read or written.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            message = "The stored responses cannot be read or written at the moment."
            raise ApiError(503, message, code="store_failed", retry_after_s=5) from error

    def _prepare(self) -> None:
        self._db.executescript(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA secure_delete = ON;"
            "PRAGMA synchronous = NORMAL; PRAGMA journal_mode = TRUNCATE;"
            "BEGIN IMMEDIATE; COMMIT;"
        )
        said = [self._one(f"PRAGMA {name}") for name in ("application_id", "user_version")]
        if said == [0, 0] and not self._one("SELECT COUNT(*) FROM sqlite_master"):
            self._db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        elif said != [_APPLICATION_ID, _VERSION]:
            raise sqlite3.DatabaseError("it holds something else")
        self._used = self._one("SELECT COALESCE(MAX(used), 0) FROM responses")

    def _one(self, command: str) -> int:
        return int(self._db.execute(command).fetchone()[0])

    def _get(self, tenant: str, name: str) -> bytes | None:
        key = (tenant, name)
        row = self._db.execute("SELECT record FROM responses WHERE tenant = ? AND id = ?", key)
        found = row.fetchone()
        if found is not None:
            self._used += 1
            command = "UPDATE responses SET used = ? WHERE tenant = ? AND id = ?"
            self._db.execute(command, (self._used, *key))
        return None if found is None else bytes(found[0])

    def _put(self, tenant: str, name: str, record: bytes) -> None:
        self._used += 1
        with _Transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?)",
                (tenant, name, self._used, len(record), record),
            )
            while (over := self._over()) is not None:
                self._db.execute(
                    "DELETE FROM responses WHERE rowid = (SELECT rowid FROM responses "
                    "WHERE tenant = ? ORDER BY used LIMIT 1)",
                    (over,),
                )

    def _over(self) -> str | None:
        """The tenant that holds most, where all hold too much."""
        rows = self._db.execute(
            "SELECT tenant, COUNT(*), SUM(size) FROM responses GROUP BY tenant"
        ).fetchall()
        limits = self._limits
        if sum(row[1] for row in rows) <= limits.records and (
            sum(row[2] for row in rows) <= limits.num_bytes
        ):
            return None
        return str(max(rows, key=lambda row: row[2])[0])


class _Transaction:
    """All of it, or nothing."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def _make_private(path: Path) -> None:
    """The file, readable and writable by its owner alone from its first moment on."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "no regular file")
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: Exception) -> ConfigError:
    is_locked = getattr(error, "sqlite_errorname", "") == "SQLITE_BUSY" or "locked" in str(error)
    if is_locked:
        return ConfigError(
            f"Another process uses the store {path}.", hint="Give each server a file of its own."
        )
    reason = getattr(error, "strerror", None) or error
    return ConfigError(
        f"The store {path} cannot be used ({reason}).",
        hint="Name a file that unisono made, or one that is not there yet, in a folder that is.",
    )
