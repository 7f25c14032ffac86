"""The interface of checkpoints: a configuration, and tensors under one set of names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight
from unisono.models.checkpoint.names import StoredPart
from unisono.models.checkpoint.slots import Slot
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig


class StoredWeights(Protocol):
    """Weights that are in the files in fewer bits than they are multiplied in."""

    @property
    def formats(self) -> Mapping[str, HeldFormat | None]:
        """Held formats by the weight's name; None: numbers, multiplied with some that
        are quantised."""

    @property
    def format(self) -> HeldFormat:
        """The held format of most of them."""

    def owner(self, tensor_name: str) -> str | None:
        """The quantised weight to which a tensor belongs."""

    def is_ignorable(self, tensor_name: str) -> bool:
        """True where a tensor carries nothing that a weight needs."""

    def add(self, tensor_name: str, tensor: Tensor) -> HeldWeight | None:
        """Take a tensor of a quantised weight; the weight, once its last one is there."""


class Checkpoint(ABC):
    """Raises ModelError, in all of it: the files are missing, damaged or not known."""

    config: RawConfig
    """The configuration, under the names of ``config.json``."""
    files: list[Path]
    """Paths of the files that hold tensors."""

    @abstractmethod
    def names(self, path: Path) -> list[str]:
        """Names of the tensors in one of the files, as they are stored."""

    @abstractmethod
    def tensors(
        self, path: Path, parts: Sequence[StoredPart]
    ) -> Iterator[tuple[StoredPart, Tensor]]:
        """Parts of the tensors of a file, one after the other."""

    @abstractmethod
    def quantized(
        self, model: Decoder, slots: Mapping[str, Slot], dtype: torch.dtype
    ) -> StoredWeights | None:
        """Its quantised weights among those that ``model``, of ``dtype``, needs; None where there
        are none."""
