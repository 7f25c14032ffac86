"""Models from the ModelScope hub.

Fetches the files that are wanted and keeps each state of a branch in a folder of its own under
``MODELSCOPE_CACHE``, so that a running server never sees files change. Knows nothing of how the
API looks or how a file travels.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from unisono.core.errors import CheckpointError, ModelError, ModelNotFoundError
from unisono.core.folder_files import parse_json
from unisono.hub.files import require_safetensors, storage_error
from unisono.hub.http import TransferError
from unisono.hub.listing import RemoteFile, wanted_files
from unisono.hub.modelscope_api import file_url, list_files, secret_headers
from unisono.hub.transfer import Download, fetch_all

__all__ = ["download"]

_DEFAULT_REVISION = "master"


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
    require_safetensors([file.path for file in files], f"modelscope:{repo_id}")
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
    missing = [
        Download(
            name=file.path,
            url=file_url(repo_id, revision, file.path),
            target=snapshot / file.path,
            size=file.size,
            digest=file.digest,
        )
        for file in files
        if not _is_here(snapshot, file)
    ]
    if missing:
        title = f"modelscope:{repo_id}"
        fetch_all(missing, snapshot, secret_headers(), title=title, progress=progress)
    _remember(repo_folder, revision, files)
    return snapshot


def _cache_root() -> Path:
    root = os.environ.get("MODELSCOPE_CACHE") or Path.home() / ".cache" / "modelscope"
    return Path(root).expanduser() / "unisono"


def _fingerprint(files: list[RemoteFile]) -> str:
    content = json.dumps([[file.path, file.size, file.digest] for file in files])
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
    record = [{"path": file.path, "size": file.size, "sha256": file.digest} for file in files]
    draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
    draft.replace(path)


def _cached(repo_folder: Path, revision: str) -> Path | None:
    """The snapshot last seen for ``revision``, if all of it is here."""
    try:
        record = parse_json(_record_path(repo_folder, revision).read_bytes())
        files = wanted_files((entry["path"], entry["size"], entry["sha256"]) for entry in record)
    except (OSError, ValueError, TypeError, KeyError, CheckpointError):
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
