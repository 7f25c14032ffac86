"""A model's files, whatever they are: its configuration and its tensors under one set of names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from unisono.core import WeightFormat
from unisono.gguf import is_gguf
from unisono.models.checkpoint.formats.quantized_checkpoint import QuantizedCheckpoint
from unisono.models.checkpoint.formats.stated_quantization import quantization_beside
from unisono.models.checkpoint.formats.stored_values import HeldFormat, StoredWeight
from unisono.models.checkpoint.formats.stored_weights import (
    StoredFormat,
    find_stored_format,
    read_stored_format,
)
from unisono.models.checkpoint.names import StoredPart
from unisono.models.checkpoint.weights import open_tensors, stored_names, weight_files
from unisono.models.config import RawConfig
from unisono.models.decoder import Decoder

__all__ = ["Checkpoint", "CheckpointFolder", "QuantizedWeights", "open_checkpoint"]

_MAPPED_BYTES = 64 << 20


class QuantizedWeights(Protocol):
    """Weights that are in the files in fewer bits than they are multiplied in."""

    @property
    def converts(self) -> bool:
        """Whether weights become another format than the checkpoint's."""

    @property
    def format(self) -> HeldFormat:
        """What most weights are held as."""

    @property
    def of_others(self) -> WeightFormat | None:
        """The format of weights that are not quantised in the checkpoint, but are to be."""

    def num_bytes(self, model: Decoder, dtype: torch.dtype) -> int:
        """Of the weights of ``model`` or of a rank's part of it, before any is loaded."""

    def owner(self, tensor_name: str) -> str | None:
        """The quantised weight to which a tensor belongs."""

    def is_ignorable(self, tensor_name: str) -> bool:
        """Whether a tensor carries nothing that a weight needs."""

    def add(self, tensor_name: str, tensor: Tensor) -> StoredWeight | None:
        """Take a tensor of a quantised weight; the weight, once its last one is there."""


class Checkpoint(ABC):
    """Raises ModelError, in all of it: the files are missing, damaged or not known."""

    config: RawConfig
    """As ``config.json`` says it."""
    files: list[Path]
    """Those with tensors."""

    @abstractmethod
    def names(self, path: Path) -> list[str]:
        """Of the tensors in one of the files, as they are stored."""

    @abstractmethod
    def tensors(
        self, path: Path, parts: Sequence[StoredPart]
    ) -> Iterator[tuple[StoredPart, Tensor]]:
        """Parts of the tensors of a file, one after the other."""

    @abstractmethod
    def quantized(
        self, model: Decoder, weights: str, dtype: torch.dtype
    ) -> QuantizedWeights | None:
        """Its quantised weights, to be held as ``WeightFormat.parse`` reads ``weights``; None where
        there are none. ``dtype`` is the model's."""


class CheckpointFolder(Checkpoint):
    """``config.json`` and safetensors files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def config(self) -> RawConfig:  # type: ignore[override]
        return RawConfig.load(self._folder)

    @cached_property
    def files(self) -> list[Path]:  # type: ignore[override]
        return weight_files(self._folder)

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
        self, model: Decoder, weights: str, dtype: torch.dtype
    ) -> QuantizedWeights | None:
        stored = find_stored_format(self.config) or self._format_beside()
        return None if stored is None else QuantizedCheckpoint(stored, self._folder, model, weights)

    def _format_beside(self) -> StoredFormat | None:
        """As a file beside the configuration states it, where the tensors bear it out: it may have
        been left behind by other weights."""
        stated = quantization_beside(self._folder)
        if stated is None:
            return None
        stored = read_stored_format(stated)
        own = tuple(f".{piece}" for piece in stored.pieces if piece != "weight")
        is_so = any(name.endswith(own) for name in stored_names(self._folder))
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
