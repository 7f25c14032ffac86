"""The forms ``int-quantized``, ``float-quantized``, ``naive-quantized`` and ``mxfp8-quantized`` of
compressed-tensors: a weight in a dtype of 8 bits.

A module has ``weight`` int8 or float8 [N, K], and ``weight_scale`` of the whole, of each row, of
each group of inputs or of each block; for integers also ``weight_zero_point``, int8, of the same
shape, where zeros are not 0.

Source: github.com/vllm-project/compressed-tensors, version 0.20, ``compressors/naive_quantized``
and ``mxfp8``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight
from unisono.models.checkpoint.formats.float8 import float8_format, float8_weight
from unisono.models.checkpoint.formats.grouped_levels import LevelGroups
from unisono.models.checkpoint.formats.stored_checks import FLOATS, Shape, check_dtype, check_finite

FORMS = ("int-quantized", "float-quantized", "naive-quantized", "mxfp8-quantized")


@dataclass(frozen=True, slots=True)
class IntQuantized:
    """int8, a scale for the whole, a row, or a group of inputs."""

    groups: LevelGroups
    of_tensor: bool

    def layout(self, shape: Shape) -> dict[str, Shape]:
        scales = (1,) if self.of_tensor else (shape[0], self.groups.num_groups(shape[1]))
        layout = {"weight": shape, "weight_scale": scales}
        return layout if self.groups.symmetric else {**layout, "weight_zero_point": scales}

    def held(self, shape: Shape) -> HeldFormat:
        return self.groups.held

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        check_dtype(name, "weight", pieces["weight"], (torch.int8,))
        check_dtype(name, "weight_scale", pieces["weight_scale"], FLOATS)
        check_finite(name, pieces["weight_scale"])
        count = shape[0], self.groups.num_groups(shape[1])
        zeros = pieces.get("weight_zero_point")
        if zeros is not None:
            check_dtype(name, "weight_zero_point", zeros, (torch.int8,))
            zeros = _counted(zeros).expand(count)
        scales = pieces["weight_scale"].expand(count)
        return self.groups.store(name, _counted(pieces["weight"]), scales, zeros)


def _counted(levels: Tensor) -> Tensor:
    """int8, counted from the lowest: uint8."""
    return levels.view(torch.uint8) ^ 128


@dataclass(frozen=True, slots=True)
class FloatQuantized:
    """float8, a scale for a block (rows, columns); None is all of them."""

    block: tuple[int | None, int | None]
    exponents: bool = False
    """True where scales are bytes that stand for powers of two."""

    def layout(self, shape: Shape) -> dict[str, Shape]:
        tall, wide = self._block_of(shape)
        scales: Shape = (-(-shape[0] // tall), -(-shape[1] // wide))
        return {"weight": shape, "weight_scale": (1,) if self.block == (None, None) else scales}

    def _block_of(self, shape: Shape) -> tuple[int, int]:
        return self.block[0] or shape[0], self.block[1] or shape[1]

    def held(self, shape: Shape) -> HeldFormat:
        return float8_format(self._block_of(shape), shape)

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        scales = pieces["weight_scale"]
        check_dtype(name, "weight_scale", scales, (torch.uint8,) if self.exponents else FLOATS)
        return float8_weight(name, pieces["weight"], scales, self._block_of(shape))
