"""Writes safetensors files tensor by tensor: none but the one being written is in memory.

The package safetensors writes a file from all of its tensors at once. What is written here is its
format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
}
_HEADER_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The dtype and shape of a tensor to write."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class TensorWriter:
    """Files of at most ``file_bytes`` each (a larger tensor has one for itself), and their index.

    Tensors may be written in any order; those that follow one another in ``specs`` lie in one file.
    """

    def __init__(
        self, folder: Path, specs: Mapping[str, TensorSpec], *, file_bytes: int = 4 * 10**9
    ) -> None:
        self._specs = dict(specs)
        self._places: dict[str, tuple[BinaryIO, int]] = {}
        self._files = ExitStack()
        parts = _in_files(self._specs, file_bytes)
        names = _file_names(len(parts))
        with self._files as closing:
            for name, part in zip(names, parts, strict=True):
                self._begin(closing.enter_context((folder / name).open("wb")), part)
            self._files = closing.pop_all()
        if len(parts) > 1:
            files = {t: name for name, part in zip(names, parts, strict=True) for t in part}
            index = {"metadata": {"total_size": self.num_bytes}, "weight_map": files}
            text = json.dumps(index, indent=2, sort_keys=True)
            (folder / "model.safetensors.index.json").write_text(text + "\n", encoding="utf-8")

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(spec.num_bytes for spec in self._specs.values())

    def _begin(self, file: BinaryIO, part: Mapping[str, TensorSpec]) -> None:
        header, offsets = _header(part)
        file.write(header)
        for name, offset in offsets.items():
            self._places[name] = file, len(header) + offset

    def write(self, name: str, tensor: Tensor) -> None:
        """Put a tensor in its place, once."""
        spec = self._specs[name]
        assert (tensor.dtype, tuple(tensor.shape)) == (spec.dtype, spec.shape), name
        file, offset = self._places.pop(name)
        file.seek(offset)
        file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)

    def __enter__(self) -> TensorWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.close()
        assert error is not None or not self._places, f"not written: {list(self._places)[:3]}"


def _in_files(specs: Mapping[str, TensorSpec], file_bytes: int) -> list[dict[str, TensorSpec]]:
    parts: list[dict[str, TensorSpec]] = [{}]
    room = file_bytes
    for name, spec in specs.items():
        if parts[-1] and spec.num_bytes > room:
            parts.append({})
            room = file_bytes
        parts[-1][name] = spec
        room -= spec.num_bytes
    return parts


def _file_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]


def _header(part: Mapping[str, TensorSpec]) -> tuple[bytes, dict[str, int]]:
    """The bytes before the data, and where behind them each tensor begins: wide ones first, so that
    each is aligned."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offsets: dict[str, int] = {}
    end = 0
    for name in sorted(part, key=lambda name: (-part[name].dtype.itemsize, name)):
        spec = part[name]
        offsets[name], end = end, end + spec.num_bytes
        entries[name] = {
            "dtype": _NAMES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [offsets[name], end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    return struct.pack("<Q", len(text)) + text, offsets
