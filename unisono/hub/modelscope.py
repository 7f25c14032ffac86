"""Models from the ModelScope hub.

Fetches the files that are wanted and keeps each state of a branch in a folder of its own under
``MODELSCOPE_CACHE``, so that a running server never sees files change. Of the hub's public HTTP API
it knows what a download needs; reads ``MODELSCOPE_ENDPOINT`` and ``MODELSCOPE_API_TOKEN``, as the
official client does.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, quote_plus

from unisono.core.errors import CheckpointError, ModelError, ModelNotFoundError
from unisono.core.folder_files import parse_json
from unisono.hub.addresses import check_endpoint
from unisono.hub.files import require_safetensors, storage_error, write_text
from unisono.hub.http import TransferError, bearer, read_json
from unisono.hub.listing import RemoteFile, wanted_files
from unisono.hub.transfer import Download, fetch_all

_DEFAULT_REVISION = "master"
_DEFAULT_ENDPOINT = "https://www.modelscope.cn"
_MAX_LISTING_BYTES = 16 << 20


def download(repo_id: str, *, revision: str | None, offline: bool, progress: bool) -> Path:
    """The folder of ``repo_id``; see ``resolve_model`` for arguments and errors."""
    revision = revision or _DEFAULT_REVISION
    repo_folder = _cache_root() / repo_id.replace("/", "--")
    if offline:
        return _cached(repo_folder, revision) or _raise_not_cached(repo_id, "offline mode is on")
    try:
        files = _list_files(repo_id, revision)
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
    downloads = [
        Download(file, _file_url(repo_id, revision, file.path), snapshot / file.path)
        for file in files
    ]
    title = f"modelscope:{repo_id}"
    fetch_all(downloads, snapshot, _secret_headers(), title=title, progress=progress)
    record = [{"path": file.path, "size": file.size, "sha256": file.digest} for file in files]
    write_text(_record_path(repo_folder, revision), json.dumps(record, indent=1))
    return snapshot


def _cache_root() -> Path:
    root = os.environ.get("MODELSCOPE_CACHE") or Path.home() / ".cache" / "modelscope"
    return Path(root).expanduser() / "unisono"


def _fingerprint(files: list[RemoteFile]) -> str:
    content = json.dumps([[file.path, file.size, file.digest] for file in files])
    return hashlib.sha256(content.encode()).hexdigest()[:40]


def _record_path(repo_folder: Path, revision: str) -> Path:
    return repo_folder / "revisions" / f"{quote(revision, safe='')}.json"


def _cached(repo_folder: Path, revision: str) -> Path | None:
    """The snapshot last seen for ``revision``, if all of it is here."""
    try:
        record = parse_json(_record_path(repo_folder, revision).read_bytes())
        files = wanted_files((entry["path"], entry["size"], entry["sha256"]) for entry in record)
    except (OSError, ValueError, TypeError, KeyError, CheckpointError):
        return None
    snapshot = repo_folder / _fingerprint(files)
    return snapshot if all(file.is_at(snapshot / file.path) for file in files) else None


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


def _list_files(repo_id: str, revision: str) -> list[RemoteFile]:
    """The files that are wanted, in order of their names.

    Raises:
        TransferError: no answer, or a refusal.
        ModelError: an answer that is not ModelScope's.
        CheckpointError: a name, size or hash that is none.
    """
    query = f"Revision={quote_plus(revision)}&Recursive=True"
    url = f"{_endpoint()}/api/v1/models/{quote(repo_id)}/repo/files?{query}"
    try:
        answer, _ = read_json(url, _secret_headers(), _MAX_LISTING_BYTES)
        if answer.get("Success") is False:
            raise TransferError(str(answer.get("Message") or "refused"), 404)
        entries = [entry for entry in answer["Data"]["Files"] if entry.get("Type") != "tree"]
        listed = [(entry["Path"], entry["Size"], entry.get("Sha256")) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{_endpoint()} did not answer like ModelScope.", hint="Check MODELSCOPE_ENDPOINT."
        ) from error
    return wanted_files(listed)


def _file_url(repo_id: str, revision: str, path: str) -> str:
    query = f"Revision={quote_plus(revision)}&FilePath={quote_plus(path)}"
    return f"{_endpoint()}/api/v1/models/{quote(repo_id)}/repo?{query}"


def _endpoint() -> str:
    variable = (
        "MODELSCOPE_ENDPOINT" if os.environ.get("MODELSCOPE_ENDPOINT") else "MODELSCOPE_DOMAIN"
    )
    address = (os.environ.get(variable) or _DEFAULT_ENDPOINT).strip()
    return check_endpoint(address if "://" in address else f"https://{address}", variable)


def _secret_headers() -> dict[str, str]:
    token = os.environ.get("MODELSCOPE_API_TOKEN")
    shown = bearer(token, "MODELSCOPE_API_TOKEN")
    return {**shown, "Cookie": f"m_session_id={token}"} if shown else {}
