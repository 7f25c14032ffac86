"""Files over HTTP: resumed where they stopped, never longer than announced, checked, and put in
place in one step.

Knows no hub.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import IO, Any

from unisono.core.errors import CheckpointError
from unisono.hub.files import content_matches
from unisono.hub.http import TransferError, chunks, open_url
from unisono.hub.listing import RemoteFile
from unisono.hub.progress import download_bar

_PARALLEL_FILES = 4
_TRIES_WITHOUT_PROGRESS = 4
_LEAST_PROGRESS = 64 << 10
"""Bytes by which a try must get further than any before it, to count as progress."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_CHANGED = (
    "Run the same command again to download it anew. If it happens twice, a proxy or mirror on the"
    " way changes files."
)


@dataclass(frozen=True, slots=True)
class Download:
    file: RemoteFile
    url: str
    target: Path


def fetch_all(
    downloads: Sequence[Download],
    folder: Path,
    secret_headers: Mapping[str, str],
    *,
    title: str,
    progress: bool,
) -> None:
    """Download the files that are not here into ``folder``, some at a time, with one bar for all.

    Raises:
        TransferError, CheckpointError, OSError: as ``fetch_file``, or they do not fit on the disk.
    """
    missing = [download for download in downloads if not download.file.is_at(download.target)]
    if not missing:
        return
    total = sum(download.file.size for download in missing)
    folder.mkdir(parents=True, exist_ok=True)
    if total > shutil.disk_usage(folder).free:
        raise OSError(ENOSPC, "No space left on device")
    stopped = threading.Event()
    with (
        download_bar(title, total, shown=progress) as advance,
        ThreadPoolExecutor(_PARALLEL_FILES) as pool,
    ):

        def on_bytes(count: int) -> None:
            if stopped.is_set():
                raise CancelledError
            advance(count)

        jobs = [pool.submit(fetch_file, each, secret_headers, on_bytes) for each in missing]
        try:
            for job in jobs:
                job.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def fetch_file(
    download: Download, secret_headers: Mapping[str, str], on_bytes: Callable[[int], None]
) -> None:
    """Download a file; what an earlier attempt left is continued.

    Args:
        on_bytes: told how many more bytes are here (fewer, after a restart).

    Raises:
        TransferError: gave up.
        CheckpointError: not the bytes that were published, or more of them.
        OSError: cannot be written.
    """
    target = download.target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with part.open("ab") as file, _locked(file):
        if download.file.is_at(target):
            on_bytes(download.file.size)  # another process was faster
            return
        on_bytes(file.tell())
        _complete(download, file, secret_headers, on_bytes)
        file.flush()
        if not content_matches(part, download.file.digest):
            part.unlink()
            raise CheckpointError(
                f"{download.file.path} does not match its published hash and was deleted.",
                hint=_CHANGED,
            )
        part.replace(target)


def _complete(
    download: Download,
    file: IO[bytes],
    secret_headers: Mapping[str, str],
    on_bytes: Callable[[int], None],
) -> None:
    """Request what is missing until all is here; gives up after tries that brought nothing."""
    size, failures, furthest = download.file.size, 0, 0
    if file.tell() > size:
        _restart(file, on_bytes)
    while (before := file.tell()) != size:
        furthest = max(furthest, before)
        try:
            _append(download, file, secret_headers, on_bytes)
            reason = f"the connection ended after {file.tell()} of {size} bytes"
        except TransferError as error:
            if error.status == 416:
                _restart(file, on_bytes)
            elif error.status is not None and error.status < 500 and error.status != 429:
                raise
            reason = str(error)
        if file.tell() == size:
            return
        failures = 0 if file.tell() >= furthest + _LEAST_PROGRESS else failures + 1
        if failures == _TRIES_WITHOUT_PROGRESS:
            raise TransferError(reason)
        time.sleep(0.5 * 2**failures if failures else 0.1)


def _append(
    download: Download,
    file: IO[bytes],
    secret_headers: Mapping[str, str],
    on_bytes: Callable[[int], None],
) -> None:
    offset = file.tell()
    with open_url(download.url, secret_headers, offset=offset) as response:
        if response.status == 206:
            _check_range(response, offset, download.file.size)
        elif offset:
            _restart(file, on_bytes)
        for chunk in chunks(response):
            if file.tell() + len(chunk) > download.file.size:
                _restart(file, on_bytes)
                raise CheckpointError(
                    f"The server sends more than the {download.file.size} bytes that it announced"
                    f" for {download.file.path}; they were deleted.",
                    hint=_CHANGED,
                )
            file.write(chunk)
            on_bytes(len(chunk))


def _check_range(response: Any, offset: int, size: int) -> None:
    """Raises TransferError: it is not the rest of the file that the server sends."""
    said = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(said)
    if not match or int(match[1]) != offset or match[3] not in ("*", str(size)):
        raise TransferError(f"the server sends {said!r:.80}, not what follows byte {offset}")


def _restart(file: IO[bytes], on_bytes: Callable[[int], None]) -> None:
    on_bytes(-file.tell())
    file.truncate(0)
    file.seek(0)


@contextmanager
def _locked(file: IO[bytes]) -> Iterator[None]:
    """One process at a time where the system can lock; released when the file closes."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0, 2)
    yield
