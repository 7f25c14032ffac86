"""A file of packed weights: a safetensors file in which every tensor is uint8, at a multiple of 64.

Written to a name of its own and renamed when it is complete; read by mapping it. What is read is
trusted in nothing: the header is checked field by field, the tensors' bytes by whoever asked for
them. Knows no models.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import operator
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from unisono.hardware.weights.packed_form import ALIGNMENT, HEAD_BYTES

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 << 20
_ENTRY_BYTES = 96
"""Most that a tensor's entry in the header takes beside its name."""
_METADATA = "__metadata__"
_TENSORS = "tensors"
_DRAFT = ".draft"
_ABANDONED_S = 24 * 3600.0


class PackedFileError(Exception):
    """The file cannot be written, or is not what it should be; the message says why."""


class PackedFileWriter:
    """Takes tensors one by one; their bytes are on the disk at once.

    Args:
        path: gets the file when it is complete, whatever was there; its folder must exist.
        names: of all tensors that will come.
        expected_bytes: of them, about.
        metadata: goes into the file beside them.

    Raises:
        OSError: (all methods) it cannot be written.
    """

    def __init__(
        self, path: Path, names: Iterable[str], expected_bytes: int, metadata: Mapping[str, str]
    ) -> None:
        _remove_abandoned_drafts(path)
        if shutil.disk_usage(path.parent).free < expected_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._path = path
        self._metadata = dict(metadata)
        self._spans: dict[str, tuple[int, int]] = {}
        self._heads: dict[str, bytes] = {}
        self._num_bytes = 0
        self._data_start = _data_start(list(names), self._metadata)
        descriptor, draft = tempfile.mkstemp(_DRAFT, f"{path.name}.", path.parent)
        self._draft = Path(draft)
        self._file: BinaryIO = os.fdopen(descriptor, "r+b")
        self._file.seek(self._data_start)

    def add(self, name: str, data: Tensor) -> None:
        """Append ``data``, uint8 [bytes] on the host."""
        padding = bytes(-data.numel() % ALIGNMENT)
        self._file.write(data.contiguous().numpy().data)
        self._file.write(padding)
        end = self._num_bytes + data.numel() + len(padding)
        self._spans[name] = self._num_bytes, end
        self._heads[name] = (data[:HEAD_BYTES].numpy().tobytes() + padding)[:HEAD_BYTES]
        self._num_bytes = end

    def finish(self) -> None:
        """Write the header and give the file its name."""
        header = _header(self._spans, self._heads, self._metadata)
        room = self._data_start - _LENGTH_BYTES
        assert len(header) <= room
        self._file.seek(0)
        self._file.write(room.to_bytes(_LENGTH_BYTES, "little") + header.ljust(room))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._draft.replace(self._path)
        _sync_folder(self._path.parent)

    def close(self) -> None:
        """Without ``finish`` nothing stays."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._draft.unlink(missing_ok=True)


def _data_start(names: list[str], metadata: Mapping[str, str]) -> int:
    """Offset of the data, an upper bound made before the header, which comes first, is known."""
    room = sum(len(json.dumps(name)) + _ENTRY_BYTES for name in names)
    room += len(_header({}, {}, metadata)) + _LENGTH_BYTES
    return room + -room % ALIGNMENT


def _header(
    spans: Mapping[str, tuple[int, int]], heads: Mapping[str, bytes], metadata: Mapping[str, str]
) -> bytes:
    entries: dict[str, Any] = {_METADATA: {**metadata, _TENSORS: _digest(spans, heads)}}
    for name, (start, end) in spans.items():
        entries[name] = {"dtype": "U8", "shape": [end - start], "data_offsets": [start, end]}
    return json.dumps(entries).encode()


def _digest(spans: Mapping[str, tuple[int, int]], heads: Mapping[str, bytes]) -> str:
    """A digest of the places of the tensors and of how each begins: its checksum tells whether it
    is whole, this whether it belongs here."""
    tensors = [[name, span, heads[name].hex()] for name, span in sorted(spans.items())]
    return hashlib.sha256(json.dumps(tensors).encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # Not every system opens folders.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_abandoned_drafts(path: Path) -> None:
    """Removes drafts whose writer was killed; a draft that is being written is younger."""
    for draft in path.parent.glob(f"*{_DRAFT}"):
        with contextlib.suppress(OSError):
            if draft.lstat().st_mtime < time.time() - _ABANDONED_S:
                draft.unlink()


def map_packed_file(
    path: Path, names: Iterable[str], metadata: Mapping[str, str]
) -> dict[str, Tensor]:
    """The tensors, each a part of the mapped file; writing to one would not change the file.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
        PackedFileError: it is damaged, someone else's, has other metadata or other tensors.
    """
    try:
        mapped = _map(path)
        spans = _checked_spans(mapped, metadata)
    except (FileNotFoundError, NotADirectoryError, PackedFileError):
        raise
    except OSError as error:
        raise PackedFileError(error.strerror or str(error)) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise PackedFileError("it is damaged") from error
    if spans.keys() != set(names):
        raise PackedFileError("it is of another model")
    data = torch.frombuffer(mapped, dtype=torch.uint8)
    return {name: data[start:end] for name, (start, end) in spans.items()}


def _map(path: Path) -> mmap.mmap:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PackedFileError("it is no plain file")
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            raise PackedFileError("others can write to it")
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)


def _checked_spans(file: mmap.mmap, metadata: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """First byte and byte after the last of each tensor in the file.

    Raises:
        PackedFileError: it is of something else, or not whole.
        ValueError, LookupError, TypeError, AttributeError: it is no such file.
    """
    header_bytes = int.from_bytes(file[:_LENGTH_BYTES], "little")
    data_start = _LENGTH_BYTES + header_bytes
    if header_bytes > _MAX_HEADER_BYTES or data_start > len(file) or data_start % ALIGNMENT:
        raise ValueError("no such header")
    entries: dict[str, Any] = json.loads(file[_LENGTH_BYTES:data_start])
    noted = entries.pop(_METADATA)
    spans = {name: _span(entry["data_offsets"]) for name, entry in entries.items()}
    heads = {
        name: file[data_start + start : data_start + min(stop, start + HEAD_BYTES)]
        for name, (start, stop) in spans.items()
    }
    if noted.pop(_TENSORS) != _digest(spans, heads):
        raise ValueError("other tensors than were written")
    if noted != metadata:
        raise PackedFileError("it was made from another state of the checkpoint")
    end = 0
    for start, stop in sorted(spans.values()):
        if start != end or stop < start or stop % ALIGNMENT:
            raise ValueError("tensors that leave gaps or overlap")
        end = stop
    if data_start + end != len(file):
        raise PackedFileError("it is cut off, or has something behind its end")
    return {name: (data_start + start, data_start + stop) for name, (start, stop) in spans.items()}


def _span(offsets: list[int]) -> tuple[int, int]:
    start, stop = map(operator.index, offsets)
    return start, stop
