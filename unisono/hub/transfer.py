"""One file over HTTP: resumed where it stopped, checked, and put in place in one step.

Knows no hub. Standard library alone; proxies and certificates come from the environment.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from unisono.core.errors import CheckpointError
from unisono.hub.files import content_matches

__all__ = ["TransferError", "fetch_file", "open_url"]

_TIMEOUT_S = 30.0
_CHUNK = 1 << 20
_TRIES_WITHOUT_PROGRESS = 4


class TransferError(Exception):
    """The connection failed, or ended early too often; ``status`` is HTTP's, where there is one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows http(s) alone and never from https to http; the secrets of a request stay behind."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise TransferError(f"refused to follow a redirect from {req.type} to {scheme}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(url: str, secret_headers: Mapping[str, str], *, offset: int = 0) -> Any:
    """The response, as ``urllib`` gives it; ``secret_headers`` go to this host alone.

    Raises:
        TransferError: no connection, or an answer that is not success.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "unisono"})
    for name, value in secret_headers.items():
        request.add_unredirected_header(name, value)
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        return urllib.request.build_opener(_SafeRedirects).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise TransferError(f"HTTP {error.code} {error.reason}", error.code) from error
    except urllib.error.URLError as error:
        raise TransferError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(str(error) or type(error).__name__) from error


def fetch_file(
    url: str,
    target: Path,
    *,
    size: int,
    sha256: str,
    secret_headers: Mapping[str, str],
    on_bytes: Callable[[int], None],
) -> None:
    """Download ``url`` to ``target``; what an earlier attempt left is continued.

    Args:
        size: bytes the file has.
        sha256: its hash in hex, or ``""`` where the hub publishes none.
        on_bytes: told how many more bytes are here (fewer, after a restart).

    Raises:
        TransferError: gave up.
        CheckpointError: all bytes are here, but not those that were published.
        OSError: cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with part.open("ab") as file, _locked(file):
        if target.is_file() and target.stat().st_size == size:
            on_bytes(size)  # another process was faster
            return
        on_bytes(file.tell())
        _complete(url, file, size, secret_headers, on_bytes)
        file.flush()
        if not content_matches(part, sha256):
            part.unlink()
            raise CheckpointError(
                f"{target.name} does not match its published hash and was deleted.",
                hint="Run the same command again to download it anew. If it happens twice, a proxy"
                " or mirror on the way changes files.",
            )
        part.replace(target)


def _complete(
    url: str,
    file: IO[bytes],
    size: int,
    secret_headers: Mapping[str, str],
    on_bytes: Callable[[int], None],
) -> None:
    """Request what is missing until all is here; gives up after tries that brought nothing."""
    failures = 0
    while file.tell() != size:
        before = file.tell()
        if before > size:
            _restart(file, on_bytes)
            before = 0
        try:
            _append(url, file, size, secret_headers, on_bytes)
            reason = f"the connection ended after {file.tell()} of {size} bytes"
        except TransferError as error:
            if error.status == 416:
                _restart(file, on_bytes)
            elif error.status is not None and error.status < 500 and error.status != 429:
                raise
            reason = str(error)
        if file.tell() == size:
            return
        failures = 0 if file.tell() > before else failures + 1
        if failures == _TRIES_WITHOUT_PROGRESS:
            raise TransferError(reason)
        time.sleep(0.5 * 2**failures if failures else 0.1)


def _append(
    url: str,
    file: IO[bytes],
    size: int,
    secret_headers: Mapping[str, str],
    on_bytes: Callable[[int], None],
) -> None:
    offset = file.tell()
    with open_url(url, secret_headers, offset=offset) as response:
        if offset and not _continues_at(response, offset):
            _restart(file, on_bytes)
        for chunk in _chunks(response):
            file.write(chunk)
            on_bytes(len(chunk))
            if file.tell() > size:
                raise TransferError(f"the server sends more than the {size} bytes it announced")


def _continues_at(response: Any, offset: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status == 206 and content_range.startswith(f"bytes {offset}-")


def _chunks(response: Any) -> Iterator[bytes]:
    try:
        while chunk := response.read(_CHUNK):
            yield chunk
    except http.client.IncompleteRead as error:
        yield error.partial
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(str(error) or type(error).__name__) from error


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
