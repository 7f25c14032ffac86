"""Linear weights that a checkpoint holds quantised: levels, scales and zeros, before a device.

What every stored format has in common; each format is a file of its own (``compressed_tensors.py``)
that a line in ``_METHODS`` names. Knows no device and no model.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from unisono.core import WeightFormat
from unisono.core.errors import ConfigError, UnsupportedModelError
from unisono.hardware.quantized import QuantizedWeight
from unisono.models.config import RawConfig
from unisono.models.parallel import Cut

__all__ = ["StoredFormat", "StoredWeight", "find_stored_format", "join"]

_METHODS = {"compressed-tensors": "unisono.models.compressed_tensors:CompressedTensors"}


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """A weight [N, K] as levels, G groups to a row."""

    format: WeightFormat
    """What a device holds it as: its groups are those of the checkpoint, or divide them."""
    levels: Tensor
    """uint8 [N, K]."""
    scales: Tensor
    """float32 [N, G]; G is 1 where a whole row shares its scale."""
    zeros: Tensor | None
    """uint8 [N, G]; None where the zero is the middle level."""

    @property
    def by_row(self) -> bool:
        return self.scales.shape[1] == 1

    def cut(self, cut: Cut, name: str) -> StoredWeight:
        """A rank's part.

        Raises:
            ConfigError: it begins or ends within a group.
        """
        if cut.dim == 0:
            zeros = None if self.zeros is None else cut.of(self.zeros)
            parts = cut.of(self.levels), cut.of(self.scales), zeros
        elif self.by_row:
            parts = cut.of(self.levels), self.scales, self.zeros
        else:
            groups = self._cut_of_groups(cut, name)
            zeros = None if self.zeros is None else groups.of(self.zeros)
            parts = cut.of(self.levels), groups.of(self.scales), zeros
        return StoredWeight(self.format, *parts)

    def _cut_of_groups(self, cut: Cut, name: str) -> Cut:
        size = self.format.group_size
        if cut.length % size:
            raise ConfigError(
                f"{name} has groups of {size} inputs; {cut.whole // cut.length} ranks would cut"
                " through them.",
                hint=_fewer_ranks(cut, size),
            )
        return replace(cut, start=cut.start // size, length=cut.length // size)

    def hold(self, device: torch.device) -> QuantizedWeight:
        """The same values as a device's ops take them."""
        groups = -(-self.levels.shape[1] // self.format.group_size)
        scales, zeros = (
            None if x is None else x.expand(-1, groups).contiguous().to(device)
            for x in (self.scales, self.zeros)
        )
        assert scales is not None
        shape = (self.levels.shape[0], self.levels.shape[1])
        return QuantizedWeight(
            self.format, shape, self.levels.contiguous().to(device), scales, zeros
        )


def _fewer_ranks(cut: Cut, size: int) -> str:
    ranks = cut.whole // cut.length
    fewer = [n for n in range(1, ranks) if cut.whole % (n * size) == 0]
    if fewer:
        return f"--tp {fewer[-1]} is possible in this respect."
    return "Use --tp 1, or quantise the model with smaller groups."


def join(parts: list[QuantizedWeight]) -> QuantizedWeight:
    """Weights of one format and width, one below the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    zeros = [part.zeros for part in parts if part.zeros is not None]
    return QuantizedWeight(
        first.format,
        (sum(part.shape[0] for part in parts), first.shape[1]),
        torch.cat([part.levels for part in parts]),
        torch.cat([part.scales for part in parts]),
        torch.cat(zeros) if zeros else None,
    )


class StoredFormat(ABC):
    """How a checkpoint stores quantised weights, by what its ``config.json`` states."""

    pieces: ClassVar[tuple[str, ...]]
    """Last parts of the names of the tensors that stand for a module's ``weight``."""

    @classmethod
    @abstractmethod
    def read(cls, config: RawConfig) -> StoredFormat:
        """From ``quantization_config``.

        Raises:
            CheckpointError: a field is missing or of the wrong kind.
            UnsupportedModelError: a kind of quantisation that is not read.
        """

    @abstractmethod
    def format_of(
        self, name: str, shape: tuple[int, ...], pieces: Mapping[str, tuple[int, ...]]
    ) -> WeightFormat:
        """What the device will hold a weight of that shape as, from the shapes of its tensors.

        Raises:
            CheckpointError: these are not the tensors of such a weight.
        """

    @abstractmethod
    def unpack(
        self, name: str, shape: tuple[int, ...], pieces: Mapping[str, Tensor]
    ) -> StoredWeight:
        """The levels, scales and zeros of a weight whose shapes ``format_of`` has seen.

        Raises:
            CheckpointError: values that no such weight has.
        """


def find_stored_format(raw: RawConfig) -> StoredFormat | None:
    """How the checkpoint's linear weights are quantised; None where they are not.

    Raises:
        CheckpointError: ``quantization_config`` is wrong.
        UnsupportedModelError: in a way that is not read; the hint lists what is.
    """
    values = raw.mapping("quantization_config")
    if not values:
        return None
    method = str(values.get("quant_method", "unknown"))
    if method not in _METHODS:
        raise UnsupportedModelError(
            f"Checkpoints quantised by {method!r:.40} cannot be read.",
            hint=f"Read are: {', '.join(_METHODS)}. Or use the checkpoint in bfloat16, float16 or"
            " float32, with --weights int4 or int8.",
        )
    module, _, cls = _METHODS[method].partition(":")
    format: type[StoredFormat] = getattr(importlib.import_module(module), cls)
    return format.read(RawConfig(values, f"{raw.source}: quantization_config"))
