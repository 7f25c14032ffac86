"""The cache that ``huggingface_hub`` keeps, written in its form: blobs named by their hashes,
snapshots of links to them, and refs from branches to commits.

Every name in it is checked by whoever hands it in.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from unisono.core.errors import ModelNotFoundError
from unisono.hub.files import IGNORED, WANTED, write_text
from unisono.hub.listing import RemoteFile


class RepoCache:
    """The cached files of one repository."""

    def __init__(self, repo_id: str) -> None:
        from huggingface_hub import constants

        self._repo_id = repo_id
        self.root = Path(constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"

    def blob(self, file: RemoteFile) -> Path:
        """Path of a file's content in the cache."""
        return self.root / "blobs" / file.digest

    def publish(self, commit: str, revision: str, files: Iterable[RemoteFile]) -> Path:
        """The snapshot folder of a commit all of whose files are here; ``revision`` leads to it.

        Raises:
            OSError: cannot be written.
        """
        snapshot = self.root / "snapshots" / commit
        for file in files:
            _link(self.blob(file), snapshot / file.path)
        if revision != commit:
            write_text(self.root / "refs" / revision, commit)
        return snapshot

    def snapshot(self, revision: str) -> Path | None:
        """The folder of a revision, without asking the hub; None where that is not complete."""
        from huggingface_hub import errors, snapshot_download

        try:
            return Path(
                snapshot_download(
                    self._repo_id,
                    revision=revision,
                    local_files_only=True,
                    allow_patterns=list(WANTED),
                    ignore_patterns=list(IGNORED),
                )
            )
        except (errors.LocalEntryNotFoundError, OSError, ValueError):
            return None


def cached_models() -> list[str]:
    """Ids of the models of which something is here, in alphabetical order."""
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob("models--*--*/snapshots")
    return sorted(folder.parent.name.split("--", 1)[1].replace("--", "/", 1) for folder in folders)


def snapshot_in(folder: Path) -> Path | None:
    """The snapshot of the main branch in the folder that a cache keeps of a repository; None where
    it is no such folder.

    Raises:
        ModelNotFoundError: it has several snapshots or none, and no main branch.
    """
    if not folder.name.startswith("models--") or not (folder / "snapshots").is_dir():
        return None
    snapshots = {path.name: path for path in (folder / "snapshots").iterdir() if path.is_dir()}
    main = folder / "refs" / "main"
    named = main.read_text(encoding="utf-8", errors="replace").strip() if main.is_file() else ""
    found = snapshots.get(named) or (
        next(iter(snapshots.values())) if len(snapshots) == 1 else None
    )
    if found is None:
        raise ModelNotFoundError(
            f"{folder} is a hub's cache of a repository with {len(snapshots)} snapshots.",
            hint="Name one of the folders in its snapshots, or the model by its id, org/name.",
        )
    return found


def _link(blob: Path, name: Path) -> None:
    """Give a blob a name in a snapshot; a copy of it where the system has no links."""
    if name.is_file() and os.path.samefile(name, blob):
        return
    name.parent.mkdir(parents=True, exist_ok=True)
    draft = name.with_name(f".{name.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        draft.symlink_to(os.path.relpath(blob, name.parent))
    except OSError:
        shutil.copyfile(blob, draft)
    draft.replace(name)
