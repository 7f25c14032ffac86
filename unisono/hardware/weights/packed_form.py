"""The layout of a hardware's quantised weights in a file, so that the next start maps them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from unisono.core.weight_format import WeightFormat

ALIGNMENT = 64
"""Alignment in bytes of each weight, in a file and in memory."""
HEAD_BYTES = 128
"""A weight's checksum is among so many of its first bytes, which the file notes beside its name."""


class PackedForm(ABC):
    """Between what ``prepare_linear`` made with a format and plain bytes."""

    layout: ClassVar[str]
    """Names the layout and its version. Builds that would write other bytes for the same weight,
    because they lay it out or quantise it in another way, have other names here."""

    @abstractmethod
    def to_bytes(self, prepared: Any) -> Tensor:
        """All of a prepared weight, a checksum near its beginning (``HEAD_BYTES``): uint8 [bytes],
        contiguous, on the host."""

    @abstractmethod
    def from_bytes(self, data: Tensor, shape: tuple[int, int], format: WeightFormat) -> Any:
        """The prepared weight [N, K] that ``to_bytes`` gave ``data`` for; not copied where the
        device reads the host's memory.

        Args:
            data: uint8, at a multiple of ``ALIGNMENT``, with some bytes of padding behind; of a
                mapped file, so it must not be written to.

        Raises:
            CheckpointError: these are other bytes, or those of another weight or format. Every
                byte is checked.
        """
