"""Models from the Hugging Face hub, or a mirror that speaks its API.

What comes is kept in the cache of ``huggingface_hub``, so that other programs find it and theirs is
found here. Nothing that a mirror says becomes a path, a size or a name before it is checked, which
is why the library does not download: it trusts headers.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from unisono.core.errors import ConfigError, ModelError, ModelNotFoundError
from unisono.hub.files import require_safetensors, storage_error
from unisono.hub.http import TransferError
from unisono.hub.huggingface_api import find_commit, list_entries, resolve_url, secret_headers
from unisono.hub.huggingface_cache import RepoCache
from unisono.hub.listing import is_safe_path, wanted_files
from unisono.hub.transfer import Download, fetch_all

_DEFAULT_REVISION = "main"
_ACCESS_HINT = (
    "If it is private or gated, accept its terms on its page and set HF_TOKEN to a token that may"
    " read it."
)


def download(repo_id: str, *, revision: str | None, offline: bool, progress: bool) -> Path:
    """The snapshot folder of ``repo_id``; see ``resolve_model`` for arguments and errors."""
    wanted = revision or _DEFAULT_REVISION
    if not is_safe_path(wanted):
        raise ConfigError(
            f"{wanted!r:.200} is no revision.", hint="Give a branch, a tag or a commit."
        )
    cache = RepoCache(repo_id)
    if offline:
        snapshot = cache.snapshot(wanted) or _raise_offline(repo_id, revision)
    else:
        snapshot = _fetch(cache, repo_id, wanted, progress=progress)
    require_safetensors([path.name for path in snapshot.iterdir()], repo_id)
    return snapshot


def _fetch(cache: RepoCache, repo_id: str, revision: str, *, progress: bool) -> Path:
    headers = secret_headers()
    try:
        commit = find_commit(repo_id, revision, headers)
        entries = list_entries(repo_id, commit, headers)
    except TransferError as error:
        return cache.snapshot(revision) or _raise_refused(error, repo_id, revision)
    require_safetensors([str(path) for path, _, _ in entries], repo_id)
    files = wanted_files(entries, all_hashed=True)
    blobs = {
        file.digest: Download(file, resolve_url(repo_id, commit, file.path), cache.blob(file))
        for file in files
    }
    try:
        to = cache.root / "blobs"
        fetch_all(list(blobs.values()), to, headers, title=repo_id, progress=progress)
        return cache.publish(commit, revision, files)
    except TransferError as error:
        if error.status in (401, 403):
            _raise_refused(error, repo_id, revision)
        raise ModelError(
            f"The download of {repo_id} stopped: {error}.",
            hint="Run the same command again: it goes on where it stopped.",
        ) from error
    except OSError as error:
        raise storage_error(error, cache.root.parent) from error


def _raise_refused(error: TransferError, repo_id: str, revision: str) -> NoReturn:
    if error.code == "GatedRepo":
        raise ModelNotFoundError(f"{repo_id} is gated.", hint=_ACCESS_HINT) from error
    if error.code == "RevisionNotFound":
        raise ModelNotFoundError(
            f"{repo_id} has no revision {revision!r}.", hint="Give a branch, a tag or a commit."
        ) from error
    if error.status in (401, 403, 404):
        raise ModelNotFoundError(
            f"There is neither a folder {repo_id!r} nor a model of that id on the hub that you may"
            " read.",
            hint=f"Check the spelling, org/name. {_ACCESS_HINT}",
        ) from error
    raise ModelNotFoundError(
        f"{repo_id} is no folder here and not complete in the local cache, and could not be "
        f"fetched ({error}).",
        hint="Check the network and proxy; set HF_ENDPOINT to use a mirror; or copy the model's"
        " folder here and name that.",
    ) from error


def _raise_offline(repo_id: str, revision: str | None) -> NoReturn:
    at = f" at revision {revision!r}" if revision else ""
    raise ModelNotFoundError(
        f"{repo_id}{at} is no folder here and not complete in the local cache, and offline mode is "
        "on.",
        hint="Unset HF_HUB_OFFLINE to download it, or copy the model's folder here and name that.",
    )
