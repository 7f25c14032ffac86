"""Files and batches of a server that keeps them: the parts, put together.

Knows settings and how the parts fit; nothing of HTTP.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from unisono.core.errors import ConfigError
from unisono.server.api_error import ApiError, bad_request
from unisono.server.batches.batch_lines import LineLimits
from unisono.server.batches.batch_runner import BatchRunner
from unisono.server.batches.file_store import FileStore
from unisono.server.batches.inner_request import Route
from unisono.server.batches.records import Records
from unisono.server.settings import ServerSettings


@dataclass(frozen=True)
class Batches:
    files: FileStore
    records: Records
    runner: BatchRunner
    lock: int
    """Descriptor of the file that keeps other servers out."""

    def close(self) -> None:
        self.runner.close()
        os.close(self.lock)


def open_batches(
    app: FastAPI, settings: ServerSettings, routes: Mapping[str, Route]
) -> Batches | None:
    """``None`` for a server that was given no folder for them.

    Raises:
        ConfigError: the folder cannot be used.
    """
    root = settings.batch_dir
    if root is None:
        return None
    lock = lock_folder(root)
    limits = settings.limits
    files = FileStore(root, most_bytes=limits.files_bytes, most_files=limits.files)
    records = Records(root, "batches")
    lines = LineLimits(limits.batch_lines, limits.body_bytes)
    at_once = settings.engine.max_num_seqs
    runner = BatchRunner(app, routes, files, records, lines, at_once)
    return Batches(files, records, runner, lock)


def lock_folder(root: Path) -> int:
    """Takes the folder, made if it is not there, for this process; until the descriptor is closed.

    Raises:
        ConfigError: it cannot be used, or another server uses it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"The folder {root} cannot be used for batches ({error.strerror}).",
            hint="Name a folder that you may write to.",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigError(
            f"Another server uses the folder {root}.", hint="Give each server one of its own."
        ) from error
    return lock


def given(batches: Batches | None) -> Batches:
    """Raises:
    ApiError: this server keeps no files.
    """
    if batches is None:
        message = (
            "This server keeps no files and runs no batches: start it with --batch-dir FOLDER."
        )
        raise bad_request(message, code="not_supported")
    batches.runner.begin()
    return batches


def not_found(what: str, param: str) -> ApiError:
    return ApiError(404, f"There is no such {what} here.", param=param, code=f"{what}_not_found")
