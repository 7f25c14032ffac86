"""Reads the small files of a model folder: size-capped, as data, with errors that name the file.

Whatever is in the place of a file (a folder, a pipe, a device, a link to nothing) and whatever it
holds, the answer is its content or a ``CheckpointError``. Knows nothing of what the files mean.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError

LFS_POINTER = b"version https://git-lfs"
"""First bytes of the file that git keeps in the place of a large one."""
_FETCH_AGAIN = "Fetch the model again, or ask its publisher for a complete folder."


def read_bytes(path: Path, max_bytes: int) -> bytes | None:
    """The content of a regular file, or ``None`` where there is none.

    Raises:
        CheckpointError: not a regular file, unreadable, or larger than ``max_bytes``.
    """
    try:
        if not path.exists():
            if path.is_symlink():
                raise CheckpointError(f"{path.name} is a link to nothing.", hint=_FETCH_AGAIN)
            return None
        if not path.is_file():
            raise CheckpointError(f"{path.name} is not a regular file.", hint=_FETCH_AGAIN)
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise CheckpointError(
            f"{path.name} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error
    if len(content) > max_bytes:
        raise CheckpointError(
            f"{path.name} is larger than {max_bytes} bytes.",
            hint="No known model needs that much; " + _FETCH_AGAIN.lower(),
        )
    if content.startswith(LFS_POINTER):
        raise lfs_pointer_error(path)
    return content


def lfs_pointer_error(path: Path) -> CheckpointError:
    """For a file that begins with ``LFS_POINTER``."""
    return CheckpointError(
        f"{path.name} is a pointer of git-lfs, not the file itself.",
        hint=f"Run `git lfs install` and `git lfs pull` in {path.parent}.",
    )


def read_text(path: Path, max_bytes: int) -> str | None:
    """The same as UTF-8 text.

    Raises:
        CheckpointError: as :func:`read_bytes`, or not UTF-8.
    """
    content = read_bytes(path, max_bytes)
    if content is None:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path.name} is not UTF-8 text.", hint=_FETCH_AGAIN) from error


def read_json_object(path: Path, max_bytes: int) -> dict[str, Any]:
    """A JSON object; empty where there is no such file.

    Raises:
        CheckpointError: as :func:`read_text`, or not a JSON object.
    """
    text = read_text(path, max_bytes)
    if text is None:
        return {}
    try:
        value = parse_json(text)
    except ValueError as error:
        raise CheckpointError(
            f"{path.name} is not valid JSON ({error}).", hint=_FETCH_AGAIN
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} does not hold a JSON object.", hint=_FETCH_AGAIN)
    return value


def parse_json(text: str | bytes) -> Any:
    """Any JSON value.

    Raises:
        ValueError: not JSON, nested too deeply, or a text in it holds half a surrogate pair.
    """
    try:
        value = json.loads(text)
        if _has_surrogate_escape(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half a surrogate pair") from error
    return value


def _has_surrogate_escape(text: str | bytes) -> bool:
    """Tells whether half a pair is possible: UTF-8 has none, so only an escape can make one."""
    return (b"\\ud" in text.lower()) if isinstance(text, bytes) else ("\\ud" in text.lower())
