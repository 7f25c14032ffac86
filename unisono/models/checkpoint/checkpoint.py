"""What a checkpoint is: its configuration and its tensors under one set of names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from unisono.core.weight_format import WeightFormat
from unisono.models.checkpoint.formats.stored_values import HeldFormat, StoredWeight
from unisono.models.checkpoint.names import StoredPart
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

__all__ = ["Checkpoint", "QuantizedWeights"]


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
