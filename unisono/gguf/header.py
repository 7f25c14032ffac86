"""The header of one GGUF file: its metadata, and where its tensors lie.

Layout: github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NoReturn

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.core.ggml import GGML_TYPES, GgmlType
from unisono.gguf.cursor import Array, Cursor, Scalar

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_VALUES = 1 << 16
_MAX_TENSORS = 1 << 17
_MAX_NAME_BYTES = (1 << 16) - 1
_MAX_DIMENSIONS = 4
_MAX_ELEMENTS = 1 << 48
_ALIGNMENT = "general.alignment"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor, unread; all of its bytes are in the file."""

    path: Path
    type: GgmlType
    shape: tuple[int, ...]
    """Shape in torch's order: the last dimension is the contiguous one."""
    start: int
    """Offset of its first byte in the file."""

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape[:-1]) * self.type.row_bytes(self.shape[-1])


@dataclass(frozen=True, slots=True)
class Header:
    values: dict[str, Scalar | Array]
    tensors: dict[str, TensorInfo]


def read_header(path: Path) -> Header:
    """Raises:
    CheckpointError: no GGUF file, or a damaged or incomplete one.
    UnsupportedModelError: a version or a type of tensors that is not known.
    """
    try:
        with path.open("rb") as file:
            buffer = mmap(file.fileno(), 0, access=ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: it is empty.
        raise CheckpointError(
            f"{path} cannot be read ({error}).",
            hint="Fetch the file again, or see who may read it.",
        ) from error
    cursor = Cursor(buffer, path.name)
    num_tensors, num_values = _read_counts(cursor, path)
    values = _read_values(cursor, num_values)
    unplaced = _read_tensors(cursor, path, num_tensors)
    return Header(values, _placed(cursor, path, values, unplaced, len(buffer)))


def _read_counts(cursor: Cursor, path: Path) -> tuple[int, int]:
    if cursor.raw(len(_MAGIC)) != _MAGIC:
        raise CheckpointError(
            f"{path.name} is not a GGUF file.", hint="Fetch it again, or name another file."
        )
    version = cursor.integer("I")
    if version & 0xFFFF == 0:
        _refuse(path, "for big-endian machines")
    if version not in _VERSIONS:
        _refuse(path, f"of version {version}, and versions 2 and 3 are read")
    num_tensors, num_values = cursor.integer("Q"), cursor.integer("Q")
    if num_tensors > _MAX_TENSORS or num_values > _MAX_VALUES:
        cursor.fail(f"its header counts {num_tensors} tensors and {num_values} values")
    return num_tensors, num_values


def _refuse(path: Path, what: str) -> NoReturn:
    raise UnsupportedModelError(
        f"{path.name} is a GGUF file {what}.",
        hint="Fetch a newer file of the model, or convert it anew with llama.cpp.",
    )


def _read_values(cursor: Cursor, count: int) -> dict[str, Scalar | Array]:
    values: dict[str, Scalar | Array] = {}
    for _ in range(count):
        key = cursor.string(_MAX_NAME_BYTES)
        if key in values:
            cursor.fail(f"{key:.80} is there twice")
        values[key] = cursor.value()
    return values


def _read_tensors(cursor: Cursor, path: Path, count: int) -> dict[str, TensorInfo]:
    """With starts that are relative to the end of the header."""
    tensors: dict[str, TensorInfo] = {}
    for _ in range(count):
        name = cursor.string(_MAX_NAME_BYTES)
        if name in tensors:
            cursor.fail(f"the tensor {name:.80} is there twice")
        tensors[name] = _read_tensor(cursor, path, name)
    return tensors


def _read_tensor(cursor: Cursor, path: Path, name: str) -> TensorInfo:
    num_dimensions = cursor.integer("I")
    if not 0 < num_dimensions <= _MAX_DIMENSIONS:
        cursor.fail(f"the tensor {name:.80} has {num_dimensions} dimensions")
    shape = tuple(cursor.integer("Q") for _ in range(num_dimensions))[::-1]
    number, start = cursor.integer("I"), cursor.integer("Q")
    if number not in GGML_TYPES:
        raise UnsupportedModelError(
            f"{path.name} has a tensor {name:.80} of type {number}, which is not known.",
            hint="Fetch the model in another type, such as Q8_0 or Q4_K_M.",
        )
    type = GGML_TYPES[number]
    if not 0 < math.prod(shape) <= _MAX_ELEMENTS or shape[-1] % type.block_size:
        cursor.fail(f"the tensor {name:.80} has shape {list(shape)} and type {type.name}")
    return TensorInfo(path, type, shape, start)


def _placed(
    cursor: Cursor,
    path: Path,
    values: dict[str, Scalar | Array],
    tensors: dict[str, TensorInfo],
    file_bytes: int,
) -> dict[str, TensorInfo]:
    alignment = values.get(_ALIGNMENT, 32)
    if type(alignment) is not int or alignment < 8 or alignment & (alignment - 1):
        cursor.fail(f"{_ALIGNMENT} is {alignment!r:.40}")
    data_start = cursor.at + -cursor.at % alignment
    placed = {}
    for name, tensor in tensors.items():
        if tensor.start % alignment:
            cursor.fail(f"the tensor {name:.80} is not aligned")
        if data_start + tensor.start + tensor.num_bytes > file_bytes:
            cursor.fail(f"it ends before the tensor {name:.80} does")
        placed[name] = TensorInfo(path, tensor.type, tensor.shape, data_start + tensor.start)
    return placed
