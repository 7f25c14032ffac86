"""MXFP4 as gpt-oss ships it.

A matrix [N, K] is ``blocks`` uint8 [N, K / 32, 16], two codes a byte, the first in the low bits,
and ``scales`` uint8 [N, K / 32]. Those of all experts of a layer are one tensor in the file, with
the experts in front: the family's names take them apart.

Source: github.com/openai/gpt-oss, ``gpt_oss/torch/weights.py``; transformers 5.23,
``integrations/mxfp4.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight
from unisono.models.checkpoint.formats.float4 import MXFP4, MXFP4_GROUP, mxfp4_weight
from unisono.models.checkpoint.formats.stored_checks import Shape, Shapes, misfit
from unisono.models.checkpoint.formats.stored_format import StoredFormat
from unisono.models.raw_config import RawConfig


class Mxfp4(StoredFormat):
    """Whatever has ``blocks`` and ``scales``."""

    pieces: ClassVar[tuple[str, ...]] = ("blocks", "scales")

    @classmethod
    def read(cls, config: RawConfig) -> Mxfp4:
        return cls()

    def format_of(self, name: str, shape: Shape, pieces: Shapes) -> HeldFormat:
        rows, columns = shape
        groups = (rows, columns // MXFP4_GROUP)
        layout = {"blocks": (*groups, MXFP4_GROUP // 2), "scales": groups}
        if columns % MXFP4_GROUP or pieces != layout:
            raise misfit(name, shape, pieces)
        return MXFP4

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        return mxfp4_weight(name, pieces["blocks"].flatten(1), pieces["scales"])
