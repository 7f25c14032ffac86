"""The safetensors files of a model folder: which there are, what is in them, and their tensors.

Files are memory-mapped. Nothing in a model folder is executed or unpickled, and an index cannot
name files outside its folder. Knows no model.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from unisono.core.errors import CheckpointError
from unisono.core.folder_files import LFS_POINTER, lfs_pointer_error, read_json_object
from unisono.models.checkpoint.names import CheckpointNames, StoredPart
from unisono.models.checkpoint.refusals import AGAIN, refuse_unexpected

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_MAX_INDEX_BYTES = 64 << 20


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, in order.

    Raises:
        CheckpointError: none there, or one that the index names is missing.
    """
    index = folder / _INDEX
    if (folder / _SINGLE).is_file():  # As in transformers, whatever an index beside it says.
        names = [_SINGLE]
    elif os.path.lexists(index):
        named = read_json_object(index, _MAX_INDEX_BYTES).get("weight_map")
        if not isinstance(named, dict) or not named:
            raise CheckpointError(f"{index} has no weight_map.", hint=AGAIN)
        names = sorted(set(map(str, named.values())))
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    if not names:
        begun = any(folder.glob("*.incomplete"))
        raise CheckpointError(
            f"{folder} has no safetensors files.",
            hint=AGAIN
            if begun
            else "Only safetensors are read: pickled weights (*.bin, *.pt) can run code.",
        )
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{index} names {name!r}, which is not a plain file name.")
    missing = [name for name in names if not os.path.isfile(folder / name)]
    if missing:
        raise CheckpointError(f"{folder} lacks {', '.join(missing):.500}.", hint=AGAIN)
    return [folder / name for name in names]


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """A tensor of a checkpoint, unread."""

    path: Path
    dtype: str
    """Dtype by safetensors' name, such as ``BF16``."""
    shape: tuple[int, ...]
    part: StoredPart


def stored_names(folder: Path) -> Iterator[str]:
    """Yield the names of all tensors of a checkpoint; a file is opened when its names are needed.

    Raises:
        CheckpointError: a file is missing or truncated.
    """
    for path in weight_files(folder):
        with open_tensors(path) as tensors:
            yield from tensors.keys()


def read_headers(folder: Path, names: CheckpointNames) -> dict[str, TensorHeader]:
    """Every tensor of a checkpoint by our name, in the order of its files; without those that
    ``names`` ignores.

    Raises:
        CheckpointError: a file is missing or truncated; a tensor is there twice.
    """
    headers: dict[str, TensorHeader] = {}
    for path in weight_files(folder):
        with open_tensors(path) as tensors:
            for stored in tensors.keys():  # noqa: SIM118 - a safetensors handle, not a dict
                tensor = tensors.get_slice(stored)
                dtype, form = tensor.get_dtype(), torch.empty(tensor.get_shape(), device="meta")
                for part in names.parts(stored):
                    if part.name in headers:
                        refuse_unexpected(stored, path, already=True)
                    shape = tuple(part.view(form).shape)
                    headers[part.name] = TensorHeader(path, dtype, shape, part)
    return headers


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """A safetensors file, mapped.

    Raises:
        CheckpointError: truncated, or no such file.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        if _is_pointer(path):
            raise lfs_pointer_error(path) from error
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} cannot be read ({reason:.200}).", hint=AGAIN) from error


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False
