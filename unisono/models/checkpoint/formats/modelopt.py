"""FP8 and NVFP4 as NVIDIA's ModelOpt exports them.

- FP8: ``weight`` float8 (e4m3) [N, K] and ``weight_scale``, of the whole.
- NVFP4: ``weight`` uint8 [N, K / 2], two codes a byte, the first in the low bits;
  ``weight_scale`` float8 [N, K / 16], times ``weight_scale_2``, of the whole.

Scales of activations and of the KV cache are not used: both stay in the model's dtype.

Source: github.com/NVIDIA/TensorRT-Model-Optimizer, ``modelopt/torch/export/quant_utils.py`` and
``modelopt/torch/quantization/qtensor/nvfp4_tensor.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from unisono.core.errors import UnsupportedModelError
from unisono.hardware.weights.coded_weight import float8_table
from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight
from unisono.models.checkpoint.formats.float4 import NVFP4, NVFP4_GROUP, nvfp4_weight
from unisono.models.checkpoint.formats.float8 import Float8
from unisono.models.checkpoint.formats.stored_checks import (
    FLOATS,
    Shape,
    Shapes,
    check_dtype,
    misfit,
)
from unisono.models.checkpoint.formats.stored_format import StoredFormat
from unisono.models.raw_config import RawConfig


class ModelOpt(StoredFormat):
    """NVFP4; ``read`` finds out whether it is FP8 instead."""

    pieces: ClassVar[tuple[str, ...]] = ("weight", "weight_scale", "weight_scale_2")
    ignored: ClassVar[tuple[str, ...]] = Float8.ignored

    @classmethod
    def read(cls, config: RawConfig) -> StoredFormat:
        kind = config.get("quant_algo")
        if kind == "FP8":
            return Float8(None)
        if kind != "NVFP4":
            raise UnsupportedModelError(
                f"The checkpoint is of ModelOpt, as {kind!r:.40}, which is not read.",
                hint="Read are FP8 and NVFP4.",
            )
        return cls()

    def format_of(self, name: str, shape: Shape, pieces: Shapes) -> HeldFormat:
        rows, columns = shape
        layout = {
            "weight": (rows, columns // 2),
            "weight_scale": (rows, columns // NVFP4_GROUP),
        }
        whole = pieces.get("weight_scale_2")
        if columns % NVFP4_GROUP or whole not in ((), (1,)):
            raise misfit(name, shape, pieces)
        if pieces != {**layout, "weight_scale_2": whole}:
            raise misfit(name, shape, pieces)
        return NVFP4

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        whole, scales = pieces["weight_scale_2"], pieces["weight_scale"]
        check_dtype(name, "weight_scale", scales, (torch.float8_e4m3fn,))
        check_dtype(name, "weight_scale_2", whole, FLOATS)
        table = float8_table(torch.float8_e4m3fn) * whole.float()
        return nvfp4_weight(name, pieces["weight"], scales, table)
