"""Chooses the files of a repository, and checks that they arrived as they were published.

Weights and data only: never code, never pickles. Knows no hub and opens no connection.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from unisono.core.errors import CheckpointError, ModelError
from unisono.hub.foreign import adapter_error, by_names

WANTED = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "tiktoken.model",
    "*.tiktoken",
    "tekken.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "*.jinja",
    "merges.txt",
    "vocab.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "[0-9]_*/config.json",
)
_TEMPLATES = "additional_chat_templates"


def _folders_but(kept: str) -> list[str]:
    """`fnmatch` has no "not": these are the folders whose names leave off before ``kept`` does,
    go another way at one of its letters, or go on behind it; and what lies deeper in it."""
    shorter = [f"{kept[:end]}/*" for end in range(1, len(kept))]
    numbers = "0-9"  # of modules of sentence-transformers, which follow below
    other = [
        f"{kept[:at]}[!{letter}/{numbers if not at else ''}]*/*" for at, letter in enumerate(kept)
    ]
    return [*shorter, *other, f"{kept}[!/]*/*", f"{kept}/*/*"]


IGNORED = (
    *_folders_but(_TEMPLATES),
    f"{_TEMPLATES}/*[!a]",
    *("[0-9]*/*[!n]", "[0-9]*/*/*"),
    "consolidated*",
)
"""Sub-folders hold other forms of the model, but for one, of which the templates (``.jinja``) are
wanted, and those of modules, whose configuration is; ``consolidated`` files repeat the weights."""

_CHUNK = 1 << 20


def is_wanted(path: str) -> bool:
    """Returns whether a file of the repository is fetched; ``path`` is relative to its root."""
    matches = [any(fnmatchcase(path, pattern) for pattern in group) for group in (WANTED, IGNORED)]
    return matches[0] and not matches[1]


def require_safetensors(names: Collection[str], model: str) -> None:
    """Raises:
    CheckpointError: none of ``names`` holds weights in the one format that is read; says what
        they are instead.
    """
    if any(name.endswith(".safetensors") for name in names):
        if "config.json" in names or "adapter_config.json" not in names:
            return
        raise adapter_error(model, base="")
    raise by_names(names, model) or CheckpointError(
        f"{model} has no safetensors weights.", hint="Check the name; its page says what it holds."
    )


def content_matches(path: Path, digest: str) -> bool:
    """Compare with a SHA-256 (64 hex digits) or a git blob id (40); other digests prove nothing."""
    if re.fullmatch(r"[0-9a-f]{64}", digest):
        hasher = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", digest):
        hasher = hashlib.sha1(usedforsecurity=False)
        hasher.update(b"blob %d\0" % path.stat().st_size)
    else:
        return True
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest() == digest


def write_text(path: Path, text: str) -> None:
    """Writes a file, which is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def storage_error(error: OSError, folder: Path) -> ModelError:
    """The error for files that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelError(
            f"The disk with {folder} is full.",
            hint="Make room and run the same command again, it goes on where it stopped; or set"
            " HF_HUB_CACHE (MODELSCOPE_CACHE) to a folder on another disk.",
        )
    return ModelError(
        f"The download folder {folder} cannot be used: {error.strerror or error}.",
        hint="Set HF_HUB_CACHE (MODELSCOPE_CACHE) to a folder you can write to.",
    )
