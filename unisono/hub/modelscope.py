"""Models from the ModelScope hub.

Fetches the files that are wanted and keeps each state of a branch in a folder of its own under
``MODELSCOPE_CACHE``, so that a running server never sees files change. Knows nothing of how the
API looks or how a file travels.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import asdict
from errno import ENOSPC
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from unisono.core.errors import ModelError, ModelNotFoundError
from unisono.hub.files import require_safetensors, storage_error
from unisono.hub.modelscope_api import RemoteFile, file_url, list_files, secret_headers
from unisono.hub.progress import download_bar
from unisono.hub.transfer import TransferError, fetch_file

__all__ = ["download"]

_DEFAULT_REVISION = "master"
_PARALLEL_FILES = 4


def download(repo_id: str, *, revision: str | None, offline: bool, progress: bool) -> Path:
    """The folder of ``repo_id``; see ``resolve_model`` for arguments and errors."""
    revision = revision or _DEFAULT_REVISION
    repo_folder = _cache_root() / repo_id.replace("/", "--")
    if offline:
        return _cached(repo_folder, revision) or _raise_not_cached(repo_id, "offline mode is on")
    try:
        files = list_files(repo_id, revision)
    except TransferError as error:
        if error.status is None or error.status >= 500:
            reason = f"ModelScope cannot be reached ({error})"
            return _cached(repo_folder, revision) or _raise_not_cached(repo_id, reason)
        _raise_refused(error, repo_id, revision)
    require_safetensors((file.path for file in files), f"modelscope:{repo_id}")
    try:
        return _fetch_snapshot(repo_id, revision, repo_folder, files, progress=progress)
    except TransferError as error:
        raise ModelError(
            f"The download of modelscope:{repo_id} stopped: {error}.",
            hint="Run the same command again: it goes on where it stopped.",
        ) from error
    except OSError as error:
        raise storage_error(error, repo_folder) from error


def _fetch_snapshot(
    repo_id: str, revision: str, repo_folder: Path, files: list[RemoteFile], *, progress: bool
) -> Path:
    snapshot = repo_folder / _fingerprint(files)
    missing = [file for file in files if not _is_here(snapshot, file)]
    if missing:
        total = sum(file.size for file in missing)
        snapshot.mkdir(parents=True, exist_ok=True)
        if total > shutil.disk_usage(snapshot).free:
            raise OSError(ENOSPC, "No space left on device")
        with download_bar(f"modelscope:{repo_id}", total, shown=progress) as advance:
            _fetch_all(repo_id, revision, snapshot, missing, advance)
    _remember(repo_folder, revision, files)
    return snapshot


def _fetch_all(
    repo_id: str,
    revision: str,
    snapshot: Path,
    files: list[RemoteFile],
    advance: Callable[[int], None],
) -> None:
    stopped = threading.Event()

    def on_bytes(count: int) -> None:
        if stopped.is_set():
            raise CancelledError
        advance(count)

    with ThreadPoolExecutor(_PARALLEL_FILES) as pool:
        jobs = [
            pool.submit(
                fetch_file,
                file_url(repo_id, revision, file.path),
                snapshot / file.path,
                size=file.size,
                sha256=file.sha256,
                secret_headers=secret_headers(),
                on_bytes=on_bytes,
            )
            for file in files
        ]
        try:
            for job in jobs:
                job.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _cache_root() -> Path:
    root = os.environ.get("MODELSCOPE_CACHE") or Path.home() / ".cache" / "modelscope"
    return Path(root).expanduser() / "unisono"


def _fingerprint(files: list[RemoteFile]) -> str:
    content = json.dumps([[file.path, file.size, file.sha256] for file in files])
    return hashlib.sha256(content.encode()).hexdigest()[:40]


def _is_here(snapshot: Path, file: RemoteFile) -> bool:
    path = snapshot / file.path
    return path.is_file() and path.stat().st_size == file.size


def _record_path(repo_folder: Path, revision: str) -> Path:
    return repo_folder / "revisions" / f"{quote(revision, safe='')}.json"


def _remember(repo_folder: Path, revision: str, files: list[RemoteFile]) -> None:
    path = _record_path(repo_folder, revision)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps([asdict(file) for file in files], indent=1), encoding="utf-8")
    draft.replace(path)


def _cached(repo_folder: Path, revision: str) -> Path | None:
    """The snapshot last seen for ``revision``, if all of it is here."""
    try:
        record = json.loads(_record_path(repo_folder, revision).read_text(encoding="utf-8"))
        files = [RemoteFile(**entry) for entry in record]
    except (OSError, ValueError, TypeError):
        return None
    snapshot = repo_folder / _fingerprint(files)
    return snapshot if all(_is_here(snapshot, file) for file in files) else None


def _raise_not_cached(repo_id: str, reason: str) -> NoReturn:
    raise ModelNotFoundError(
        f"modelscope:{repo_id} is not complete in the local cache, and {reason}.",
        hint="Unset HF_HUB_OFFLINE and check network, proxy and MODELSCOPE_ENDPOINT; or copy the"
        " model's folder here and name that.",
    )


def _raise_refused(error: TransferError, repo_id: str, revision: str) -> NoReturn:
    at = "" if revision == _DEFAULT_REVISION else f" at revision {revision!r}"
    raise ModelNotFoundError(
        f"ModelScope has no model {repo_id!r}{at} that you may read ({error}).",
        hint="Check the spelling, org/name. If it is private, set MODELSCOPE_API_TOKEN.",
    ) from error
