"""Calls into the package `tokenizers`: a panic there is no ``Exception``, and made one here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unisono.core.errors import CheckpointError, UnisonoError

__all__ = ["native_call"]


@contextmanager
def native_call(failed: str, *, hint: str) -> Iterator[None]:
    """Raises:
    CheckpointError: ``failed`` and what the package said.
    """
    try:
        yield
    except (UnisonoError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise CheckpointError(f"{failed}: {str(error)[:200]}.", hint=hint) from error
