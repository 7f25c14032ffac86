"""GPTQ as AutoGPTQ and GPTQModel write it.

A module's ``weight`` [N, K] of b bits becomes

- ``qweight`` int32 [K b / 32, N]: levels, packed along K, the first in the lowest bits;
- ``qzeros`` int32 [G, N b / 32]: zeros, packed along N; ``gptq`` (v1) stores them less one,
  ``gptq_v2`` as they are;
- ``scales`` float16 [G, N];
- ``g_idx`` int32 [K]: the group of each input; consecutive unless calibrated by activation
  (``desc_act``).

Layers without a bias may have one of zeros beside them.

Source: github.com/AutoGPTQ/AutoGPTQ, version 0.7.1, ``nn_modules/qlinear/qlinear_cuda_old.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unisono.core.errors import UnsupportedModelError
from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight
from unisono.models.checkpoint.formats.bit_packing import from_words, num_words
from unisono.models.checkpoint.formats.grouped_levels import LevelGroups
from unisono.models.checkpoint.formats.stored_checks import (
    FLOATS,
    INTEGERS,
    Shape,
    Shapes,
    check_dtype,
    check_finite,
    group_size,
    misfit,
)
from unisono.models.checkpoint.formats.stored_format import StoredFormat
from unisono.models.raw_config import RawConfig

_BITS = (2, 3, 4, 8)
_ZERO_OFFSETS = {"gptq": 1, "gptq_v2": 0}
_DTYPES: dict[str, tuple[torch.dtype, ...]] = {
    "qweight": (torch.int32,),
    "qzeros": (torch.int32,),
    "scales": FLOATS,
    "g_idx": INTEGERS,
}


@dataclass(frozen=True, slots=True)
class Gptq(StoredFormat):
    """Levels in groups, and how much the stored zeros are too small."""

    pieces: ClassVar[tuple[str, ...]] = tuple(_DTYPES)
    may_add_biases: ClassVar[bool] = True

    groups: LevelGroups
    zero_offset: int

    @classmethod
    def read(cls, config: RawConfig) -> Gptq:
        bits = config.integer("bits", most=32)
        version = str(config.get("checkpoint_format") or config.get("format") or "gptq")
        if bits not in _BITS or version not in _ZERO_OFFSETS:
            raise UnsupportedModelError(
                f"The checkpoint has weights of {bits} bits as {version!r:.40}, which is not read.",
                hint=f"Read are {', '.join(_ZERO_OFFSETS)} of {', '.join(map(str, _BITS))} bits.",
            )
        groups = LevelGroups(
            bits=bits,
            symmetric=config.flag("sym", True),
            group_size=group_size(config, "group_size"),
            ordered=config.flag("desc_act", False),
        )
        return cls(groups, _ZERO_OFFSETS[version])

    def format_of(self, name: str, shape: Shape, pieces: Shapes) -> HeldFormat:
        rows, columns = shape
        bits, count = self.groups.bits, self.groups.num_groups(columns)
        layout = {
            "qweight": (num_words(columns, bits), rows),
            "qzeros": (count, num_words(rows, bits)),
            "scales": (count, rows),
        }
        if layout != pieces and {**layout, "g_idx": (columns,)} != pieces:
            raise misfit(name, shape, pieces)
        return self.groups.held

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        for piece, tensor in pieces.items():
            check_dtype(name, piece, tensor, _DTYPES[piece])
        check_finite(name, pieces["scales"])
        rows, columns = shape
        bits = self.groups.bits
        levels = from_words(pieces["qweight"].T, bits, columns)
        zeros = from_words(pieces["qzeros"], bits, rows).T + self.zero_offset & (1 << bits) - 1
        return self.groups.store(name, levels, pieces["scales"].T, zeros, pieces.get("g_idx"))
