"""Weights of 4-bit floats (e2m1): MXFP4 and NVFP4.

- MXFP4: 32 inputs share a scale, a byte e that stands for 2^(e - 127) (e8m0).
- NVFP4: 16 inputs share a scale in float8 (e4m3), divided by one number of the whole weight.

Source: OCP Microscaling Formats (MX) Specification 1.0, sections 5 and 6; for the names and
NVFP4, github.com/vllm-project/compressed-tensors 0.20, ``compressors/nvfp4`` and ``mxfp4``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.hardware.weights.coded_weight import CodedWeight, exponent_table, float8_table, look_up
from unisono.hardware.weights.held_weight import CodedFormat, HeldWeight
from unisono.models.checkpoint.formats.stored_checks import FLOATS, Shape, check_dtype, check_finite

_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
MXFP4, NVFP4 = CodedFormat("mxfp4", 4.25), CodedFormat("nvfp4", 4.5)
MXFP4_GROUP, NVFP4_GROUP = 32, 16
_GROUPS = {MXFP4: MXFP4_GROUP, NVFP4: NVFP4_GROUP}


def mxfp4_weight(name: str, codes: Tensor, exponents: Tensor) -> CodedWeight:
    """A weight [N, K] from codes uint8 [N, K / 2], two a byte, the first in the low bits, and
    exponents uint8 [N, K / 32].

    Raises:
        CheckpointError: other dtypes, or an exponent that stands for no number.
    """
    check_dtype(name, "scales", exponents, (torch.uint8,))
    return _float4_weight(name, MXFP4, codes, exponents, exponent_table())


def nvfp4_weight(name: str, codes: Tensor, scales: Tensor, scale_table: Tensor) -> CodedWeight:
    """The same from scales float8 [N, K / 16], and what each byte of them means in this weight."""
    return _float4_weight(name, NVFP4, codes, scales.view(torch.uint8), scale_table)


def _float4_weight(
    name: str, format: CodedFormat, codes: Tensor, scales: Tensor, scale_table: Tensor
) -> CodedWeight:
    check_dtype(name, "codes", codes, (torch.uint8,))
    check_finite(name, look_up(scale_table, scales))
    return CodedWeight(
        format=format,
        shape=(codes.shape[0], 2 * codes.shape[1]),
        codes=codes,
        table=torch.tensor(_E2M1 + tuple(-value for value in _E2M1)),
        scales=scales,
        scale_table=scale_table,
        block=(1, _GROUPS[format]),
    )


@dataclass(frozen=True, slots=True)
class Float4Quantized:
    """The forms ``mxfp4-pack-quantized`` and ``nvfp4-pack-quantized``: ``weight_packed`` uint8
    [N, K / 2], ``weight_scale``, and for NVFP4 ``weight_global_scale`` [1]."""

    is_mx: bool

    def layout(self, shape: Shape) -> dict[str, Shape]:
        rows, columns = shape
        layout: dict[str, Shape] = {
            "weight_packed": (rows, columns // 2),
            "weight_scale": (rows, -(-columns // _GROUPS[self.held(shape)])),
        }
        return layout if self.is_mx else {**layout, "weight_global_scale": (1,)}

    def held(self, shape: Shape) -> CodedFormat:
        return MXFP4 if self.is_mx else NVFP4

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        codes, scales = pieces["weight_packed"], pieces["weight_scale"]
        if self.is_mx:
            return mxfp4_weight(name, codes, scales)
        check_dtype(name, "weight_scale", scales, (torch.float8_e4m3fn,))
        whole = pieces["weight_global_scale"]
        check_dtype(name, "weight_global_scale", whole, FLOATS)
        table = float8_table(torch.float8_e4m3fn) / whole.float()
        return nvfp4_weight(name, codes, scales, table)
