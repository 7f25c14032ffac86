"""From the name of a model to a folder with its files.

Knows which names mean the built-in model, a folder, or a repository on a hub. Of what the files
contain it reads the publisher's word on sampling alone (``generation_config``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from unisono.core.errors import ConfigError, ModelNotFoundError
from unisono.gguf.files import is_gguf, model_files, only_model_of
from unisono.hub.foreign import what_it_is
from unisono.hub.huggingface_cache import snapshot_in

MODELSCOPE_PREFIX = "modelscope:"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_GGUF_NAME = re.compile(r"\S+\.gguf")
_PAGE = re.compile(r"https?://[^/]+/(?:models/)?([^/?#]+/[^/?#]+)(?:[/?#].*)?", re.ASCII)
"""The address of a model's page on a hub."""
_WRITE_IT_LIKE = (
    "Give a folder, a .gguf file, a hub id like Qwen/Qwen3-0.6B, or modelscope:Qwen/Qwen3-0.6B."
)


def looks_like_model(text: str) -> bool:
    """Returns whether a word on the command line names a model rather than being a prompt."""
    if text.startswith(MODELSCOPE_PREFIX) or _REPO_ID.fullmatch(text):
        return True
    if _GGUF_NAME.fullmatch(text):
        return True
    return "\n" not in text and len(text) < 4096 and os.path.isdir(os.path.expanduser(text))


def resolve_model(
    name: str | Path | None,
    *,
    revision: str | None = None,
    offline: bool | None = None,
    progress: bool = True,
) -> Path:
    """The folder of model ``name``, downloaded to the hub's cache if need be, or its GGUF file.

    Args:
        name: ``None`` for the built-in demo model, a folder, a GGUF file, ``org/name`` on the
            Hugging Face hub (or the mirror in ``HF_ENDPOINT``), or ``modelscope:org/name``.
        revision: branch, tag or commit of a hub repository; ``None`` is its default branch.
        offline: use the cache alone and open no connection; ``None`` reads ``HF_HUB_OFFLINE``.
        progress: show progress bars on a terminal.

    Raises:
        ModelNotFoundError: no such folder or repository, or it cannot be reached.
        CheckpointError: the folder or repository is something else than a model, or a file did not
            arrive as published.
        ModelError: the files cannot be stored.
        ConfigError: a revision for something that has none, or a name that is no text.
    """
    name = str(name) if isinstance(name, Path) else name
    for what, given in (("A model", name), ("A revision", revision)):
        if not isinstance(given, str | None):
            raise ConfigError(f"{what} is named by a text or a path, not by {given!r:.40}.")
    if name is not None and not name.strip():
        raise ModelNotFoundError(
            f"The name of the model is empty: {name!r}.",
            hint=f"Is a variable unset? {_WRITE_IT_LIKE}",
        )
    if offline is None:
        offline = _offline_from_environment()
    if name is not None and name.startswith(MODELSCOPE_PREFIX):
        return _from_modelscope(name, revision, offline=offline, progress=progress)
    folder = _demo_folder() if name is None else Path(os.path.expanduser(name))
    is_folder = os.path.isdir(folder)
    is_file = os.path.isfile(folder) and is_gguf(folder)
    if is_folder or is_file:
        if revision is not None:
            raise ConfigError(
                f"A {'folder' if is_folder else 'file'} has no revision {revision!r}.",
                hint="--revision goes with a model id on a hub.",
            )
        return _model_in(folder) if is_folder else model_files(folder)[0]
    assert name is not None
    if folder.suffix == ".gguf":
        raise ModelNotFoundError(f"There is no file {name!r:.300}.", hint=_WRITE_IT_LIKE)
    if os.path.isfile(folder):
        raise ModelNotFoundError(f"{name!r} is a file.", hint=f"Name its folder: {folder.parent}.")
    if not _REPO_ID.fullmatch(name):
        raise ModelNotFoundError(
            f"There is no model folder {name!r:.300}.", hint=_id_of_page(name) or _WRITE_IT_LIKE
        )
    from unisono.hub import huggingface

    return huggingface.download(name, revision=revision, offline=offline, progress=progress)


def _model_in(folder: Path) -> Path:
    """The one GGUF model of a folder that has nothing else; of a hub's cache of a repository, the
    snapshot; otherwise the folder."""
    folder = snapshot_in(folder) or folder
    has_safetensors = any(folder.glob("*.safetensors"))
    model = None if has_safetensors else only_model_of(folder)
    if model is None and (error := what_it_is(folder)):
        raise error
    return model or folder


def _id_of_page(name: str) -> str | None:
    page = _PAGE.fullmatch(name)
    if page is None or not _REPO_ID.fullmatch(page[1]):
        return None
    prefix = MODELSCOPE_PREFIX if "modelscope" in name.split("/")[2] else ""
    return f"Name the model by its id, not by the address of its page: {prefix}{page[1]}."


def _from_modelscope(name: str, revision: str | None, *, offline: bool, progress: bool) -> Path:
    repo_id = name.removeprefix(MODELSCOPE_PREFIX)
    if not _REPO_ID.fullmatch(repo_id):
        raise ModelNotFoundError(f"{name!r} is not a ModelScope id.", hint=_WRITE_IT_LIKE)
    from unisono.hub import modelscope

    return modelscope.download(repo_id, revision=revision, offline=offline, progress=progress)


def _demo_folder() -> Path:
    folder = Path(__file__).parents[1] / "demo"
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            "This installation has no built-in demo model.", hint=f"Name a model. {_WRITE_IT_LIKE}"
        )
    return folder


def _offline_from_environment() -> bool:
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in {"1", "ON", "YES", "TRUE"}
