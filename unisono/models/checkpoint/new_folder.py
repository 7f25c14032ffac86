"""A folder that appears when it is complete."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unisono.core.config import format_bytes
from unisono.core.errors import ConfigError, ModelError


def check_out(out: Path) -> None:
    """Raises ConfigError: ``out`` is there, and is not an empty folder."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        what = "is not empty" if out.is_dir() else "is a file"
        raise ConfigError(f"{out} {what}.", hint="Name a folder that is not there yet.")


@contextmanager
def unfinished(out: Path, num_bytes: int) -> Iterator[Path]:
    """A folder beside ``out`` that takes its name at the end, and vanishes where that fails.

    Raises:
        ConfigError: the disk has not the room.
        ModelError: the files cannot be written.
    """
    out = out.resolve()
    folder = out.parent / f".{out.name}.{secrets.token_hex(4)}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _check_room(out, num_bytes)
        folder.mkdir()
        yield folder
        folder.rename(out)
    except OSError as error:
        raise ModelError(
            f"{out} cannot be written: {error.strerror or error}.",
            hint="Make room, or name a folder on another disk.",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_room(out: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if free < num_bytes:
        raise ConfigError(
            f"The disk with {out} has {format_bytes(free)} free; the weights need"
            f" {format_bytes(num_bytes)}.",
            hint="Make room, or name a folder on another disk.",
        )
