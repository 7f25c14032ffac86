"""Opens a model's files: a folder with safetensors, or a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from unisono.gguf.files import is_gguf
from unisono.models.checkpoint.checkpoint import Checkpoint, StoredWeights
from unisono.models.checkpoint.formats.folder_weights import FolderWeights
from unisono.models.checkpoint.formats.stated_quantization import quantization_beside
from unisono.models.checkpoint.formats.stored_format import (
    StoredFormat,
    find_stored_format,
    read_stored_format,
)
from unisono.models.checkpoint.names import StoredPart
from unisono.models.checkpoint.safetensors_files import open_tensors, stored_names, weight_files
from unisono.models.checkpoint.slots import Slot
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

_MAPPED_BYTES = 64 << 20


class CheckpointFolder(Checkpoint):
    """``config.json`` and safetensors files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def config(self) -> RawConfig:  # type: ignore[override]
        return RawConfig.load(self.folder)

    @cached_property
    def files(self) -> list[Path]:  # type: ignore[override]
        return weight_files(self.folder)

    def names(self, path: Path) -> list[str]:
        with open_tensors(path) as file:
            return list(file.keys())

    def tensors(
        self, path: Path, parts: Sequence[StoredPart]
    ) -> Iterator[tuple[StoredPart, Tensor]]:
        """The file is opened anew from time to time: a mapping keeps in memory all that was read
        through it."""
        at = 0
        while at < len(parts):
            with open_tensors(path) as file:
                num_mapped = 0
                while at < len(parts) and num_mapped < _MAPPED_BYTES:
                    tensor = parts[at].view(file.get_tensor(parts[at].stored))
                    yield parts[at], tensor
                    num_mapped += tensor.nbytes
                    at += 1

    def quantized(
        self, model: Decoder, slots: Mapping[str, Slot], dtype: torch.dtype
    ) -> StoredWeights | None:
        stored = find_stored_format(self.config) or self._format_beside()
        return None if stored is None else FolderWeights(stored, self.folder, model, slots)

    def _format_beside(self) -> StoredFormat | None:
        """The stored format that a file beside the configuration states, or None. The tensors must
        bear it out: the file may have been left behind by other weights."""
        stated = quantization_beside(self.folder)
        if stated is None:
            return None
        stored = read_stored_format(stated)
        own = tuple(f".{piece}" for piece in stored.pieces if piece != "weight")
        is_so = any(name.endswith(own) for name in stored_names(self.folder))
        return stored if is_so else None


def open_checkpoint(path: Path) -> Checkpoint:
    """The model in a folder, or in a GGUF file.

    Raises:
        ModelError: the files are missing, damaged or not known.
    """
    if is_gguf(path):
        from unisono.models.checkpoint.gguf.checkpoint import GgufCheckpoint

        return GgufCheckpoint(path)
    return CheckpointFolder(path)
