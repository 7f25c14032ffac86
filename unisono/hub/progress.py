"""A progress bar for downloads, on stderr and on terminals alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def download_bar(title: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many more bytes have arrived; any thread may call it."""
    if not shown or _are_disabled() or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}", markup=False), *columns, console=Console(stderr=True)
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)


def _are_disabled() -> bool:
    value = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "")
    return value.upper() in {"1", "ON", "YES", "TRUE"}
