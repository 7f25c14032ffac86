"""FP8 as its checkpoints ship it: DeepSeek, Qwen, MiniMax, Mistral, FBGEMM.

A module's ``weight`` [N, K] is float8 (e4m3), and its values are weight * scale, the scale being

- ``weight_scale_inv`` [N / b, K / c], rounded up, of blocks of ``weight_block_size`` (b, c); it
  multiplies, its name notwithstanding; or
- ``weight_scale``, or that of the other name, of the whole tensor or of each row.

Scales of activations are not used: activations stay in the model's dtype. Which modules are
quantised is read from the tensors that are there.

Source: github.com/deepseek-ai/DeepSeek-V3, inference/fp8_cast_bf16.py, and transformers 5.23,
integrations/finegrained_fp8.py and fbgemm_fp8.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from unisono.core.errors import UnsupportedModelError
from unisono.hardware.weights.coded_weight import CodedWeight, exponent_table, float8_table, look_up
from unisono.hardware.weights.held_weight import CodedFormat
from unisono.models.checkpoint.formats.stored_checks import (
    FLOATS,
    Shape,
    Shapes,
    block_size,
    check_dtype,
    check_finite,
    misfit,
)
from unisono.models.checkpoint.formats.stored_format import StoredFormat
from unisono.models.raw_config import RawConfig

_READ = {"fmt": ("e4m3", "float8_e4m3fn"), "expert_dtype": ("fp8",)}
_WEIGHTS = (torch.float8_e4m3fn, torch.float8_e5m2)
_SCALES = (*FLOATS, torch.float8_e8m0fnu, torch.uint8)


class Float8(StoredFormat):
    """Blocks of a stated size, whole tensors or rows, by the shapes of the scales."""

    pieces: ClassVar[tuple[str, ...]] = ("weight", "weight_scale_inv", "weight_scale")
    ignored: ClassVar[tuple[str, ...]] = (
        *("input_scale", "activation_scale", "input_scale_ub"),
        *("kv_scale", "k_scale", "v_scale", "q_scale", "prob_scale"),
    )

    def __init__(self, block: tuple[int, int] | None) -> None:
        self.block = block

    @classmethod
    def read(cls, config: RawConfig) -> Float8:
        for name, read in _READ.items():
            if config.get(name, read[0]) not in read:
                raise UnsupportedModelError(
                    f"The checkpoint's {name} is {config.get(name)!r:.40}, which is not read.",
                    hint="Read is fp8 in e4m3, with scales of blocks, tensors or rows.",
                )
        return cls(block_size(config, "weight_block_size"))

    def format_of(self, name: str, shape: Shape, pieces: Shapes) -> CodedFormat:
        scales = [pieces[piece] for piece in self.pieces[1:] if piece in pieces]
        if pieces.get("weight") != shape or len(scales) != 1:
            raise misfit(name, shape, pieces)
        block = self._block_of(name, shape, pieces, scales[0])
        return float8_format(block, shape)

    def _block_of(
        self,
        name: str,
        shape: Shape,
        pieces: Shapes,
        scales: Shape,
    ) -> tuple[int, int]:
        rows, columns = shape
        if self.block is not None:
            tall, wide = self.block
            if scales == (-(-rows // tall), -(-columns // wide)):
                return self.block
        if scales in ((), (1,), (1, 1)):
            return rows, columns
        if scales in ((rows,), (rows, 1)):
            return 1, columns
        raise misfit(name, shape, pieces)

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> CodedWeight:
        piece = next(piece for piece in self.pieces[1:] if piece in pieces)
        shapes = {piece: tuple(tensor.shape) for piece, tensor in pieces.items()}
        block = self._block_of(name, shape, shapes, shapes[piece])
        check_dtype(name, piece, pieces[piece], _SCALES)
        return float8_weight(name, pieces["weight"], pieces[piece], block)


def float8_format(block: tuple[int, int], shape: Shape) -> CodedFormat:
    """The held format of weights whose blocks (rows, columns) share a scale."""
    if block in (shape, (1, shape[1])):
        return CodedFormat("fp8", 8.0)
    return CodedFormat(f"fp8-{block[0]}x{block[1]}", 8.0 + 32.0 / (block[0] * block[1]))


def float8_weight(name: str, weight: Tensor, scales: Tensor, block: tuple[int, int]) -> CodedWeight:
    """A float8 weight [N, K] and a scale for each block: a float, or a byte that stands for a power
    of two (e8m0 of the OCP MX formats).

    Raises:
        CheckpointError: other dtypes, or scales that are no numbers.
    """
    check_dtype(name, "weight", weight, _WEIGHTS)
    is_byte = scales.itemsize == 1
    table = exponent_table() if is_byte else None
    scales = scales.view(torch.uint8) if is_byte else scales
    check_finite(name, scales if table is None else look_up(table, scales))
    shape = (weight.shape[0], weight.shape[1])
    return CodedWeight(
        format=float8_format(block, shape),
        shape=shape,
        codes=weight.view(torch.uint8),
        table=float8_table(weight.dtype),
        scales=scales.reshape(-(-shape[0] // block[0]), -(-shape[1] // block[1])),
        scale_table=table,
        block=block,
    )
