"""AWQ as AutoAWQ writes it, version ``gemm``.

A module's ``weight`` [N, K] of 4 bits becomes

- ``qweight`` int32 [K, N / 8]: levels, packed along N; of eight, the words hold those of places 0,
  2, 4, 6, 1, 3, 5, 7, the first in the lowest bits;
- ``qzeros`` int32 [G, N / 8], packed alike;
- ``scales`` float16 [G, N].

Source: github.com/casper-hansen/AutoAWQ, version 0.2.7, ``awq/utils/packing_utils.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unisono.core.errors import UnsupportedModelError
from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight
from unisono.models.checkpoint.formats.bit_packing import from_words
from unisono.models.checkpoint.formats.grouped_levels import LevelGroups
from unisono.models.checkpoint.formats.stored_checks import (
    FLOATS,
    Shape,
    Shapes,
    check_dtype,
    check_finite,
    group_size,
    misfit,
)
from unisono.models.checkpoint.formats.stored_format import StoredFormat
from unisono.models.raw_config import RawConfig

_BITS, _VERSION = 4, "gemm"
_PLACE_IN_WORD = (0, 4, 1, 5, 2, 6, 3, 7)
"""Place in a word of each of the levels of eight consecutive outputs."""
_DTYPES: dict[str, tuple[torch.dtype, ...]] = {
    "qweight": (torch.int32,),
    "qzeros": (torch.int32,),
    "scales": FLOATS,
}


@dataclass(frozen=True, slots=True)
class Awq(StoredFormat):
    """Levels and zeros in groups."""

    pieces: ClassVar[tuple[str, ...]] = tuple(_DTYPES)

    groups: LevelGroups

    @classmethod
    def read(cls, config: RawConfig) -> Awq:
        bits = config.integer("bits", config.get("w_bit"), most=32)
        version = str(config.get("version") or config.get("format") or _VERSION).lower()
        if bits != _BITS or version != _VERSION:
            raise UnsupportedModelError(
                f"The checkpoint has weights of {bits} bits as {version!r:.40}, which is not read.",
                hint=f"Read is version {_VERSION} of {_BITS} bits.",
            )
        names = "group_size", "q_group_size"
        groups = LevelGroups(bits=bits, symmetric=False, group_size=group_size(config, *names))
        return cls(groups)

    def format_of(self, name: str, shape: Shape, pieces: Shapes) -> HeldFormat:
        rows, columns = shape
        count, words = self.groups.num_groups(columns), -(-rows // len(_PLACE_IN_WORD))
        if pieces != {
            "qweight": (columns, words),
            "qzeros": (count, words),
            "scales": (count, rows),
        }:
            raise misfit(name, shape, pieces)
        return self.groups.held

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        for piece, tensor in pieces.items():
            check_dtype(name, piece, tensor, _DTYPES[piece])
        check_finite(name, pieces["scales"])
        levels, zeros = (_in_order(pieces[p], shape[0]) for p in ("qweight", "qzeros"))
        return self.groups.store(name, levels, pieces["scales"].T, zeros)


def _in_order(words: Tensor, rows: int) -> Tensor:
    """int32 [C, N / 8] -> uint8 [N, C]."""
    levels = from_words(words, _BITS, 8 * words.shape[1])
    places = torch.tensor(_PLACE_IN_WORD)
    eights = torch.unflatten(levels, 1, (-1, len(places)))
    return eights[:, :, places].flatten(1)[:, :rows].T
