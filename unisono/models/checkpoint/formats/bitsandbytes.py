"""bitsandbytes: NF4 and FP4 in blocks, and the rows of LLM.int8().

Of 4 bits, a module's ``weight`` [N, K] becomes

- ``weight`` uint8 [N K / 2, 1]: codes of the weight as one row, the first of two in the high bits;
- ``weight.quant_map`` float32 [16]: what each code means;
- ``weight.absmax``: the scale of each block of codes, float32; or uint8, and then
  ``weight.nested_quant_map`` [256] and ``weight.nested_absmax`` say what each byte means;
- ``weight.quant_state.bitsandbytes__nf4`` (or ``__fp4``): JSON, in bytes.

Of 8 bits, ``weight`` int8 [N, K] and ``SCB`` float32 [N], the largest magnitude of each row.
Activations are not quantised, so LLM.int8() has no outliers to treat apart.

Source: github.com/bitsandbytes-foundation/bitsandbytes, version 0.49, ``functional.py``
(``QuantState``, ``dequantize_4bit``, ``int8_vectorwise_dequant``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.hardware.weights.coded_weight import CodedWeight, look_up
from unisono.hardware.weights.held_weight import CodedFormat, HeldFormat, HeldWeight
from unisono.models.checkpoint.formats.grouped_levels import LevelGroups
from unisono.models.checkpoint.formats.stored_checks import (
    Shape,
    Shapes,
    check_dtype,
    check_finite,
    misfit,
)
from unisono.models.checkpoint.formats.stored_format import StoredFormat
from unisono.models.raw_config import RawConfig

_MAX_STATE_BYTES = 1 << 16
_STATES = {kind: f"weight.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4")}
_TENSORS = ("weight", "weight.absmax", "weight.quant_map")
_NESTED = ("weight.nested_absmax", "weight.nested_quant_map")
_ROWS = LevelGroups(bits=8, symmetric=True, group_size=None)


class LlmInt8(StoredFormat):
    """8 bits, a scale for each row."""

    pieces: ClassVar[tuple[str, ...]] = ("weight", "SCB")
    ignored: ClassVar[tuple[str, ...]] = ("weight_format",)

    @classmethod
    def read(cls, config: RawConfig) -> LlmInt8:
        return cls()

    def format_of(self, name: str, shape: Shape, pieces: Shapes) -> HeldFormat:
        if pieces != {"weight": shape, "SCB": shape[:1]}:
            raise misfit(name, shape, pieces)
        return _ROWS.held

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        check_dtype(name, "weight", pieces["weight"], (torch.int8,))
        check_dtype(name, "SCB", pieces["SCB"], (torch.float32,))
        check_finite(name, pieces["SCB"])
        scales = (pieces["SCB"] / 127).unsqueeze(1)
        return _ROWS.store(name, pieces["weight"].view(torch.uint8) ^ 128, scales, None)


class BitsAndBytes(StoredFormat):
    """4 bits, by a table, in blocks; ``read`` finds out whether it is 8 bits instead."""

    pieces: ClassVar[tuple[str, ...]] = (*_TENSORS, *_NESTED, *_STATES.values())

    def __init__(self, kind: str) -> None:
        self.format = CodedFormat(kind, 4.5)
        self.state = _STATES[kind]

    @classmethod
    def read(cls, config: RawConfig) -> StoredFormat:
        if config.flag("load_in_8bit", False):
            return LlmInt8.read(config)
        kind = str(config.get("bnb_4bit_quant_type", "fp4"))
        if kind not in _STATES or not config.flag("load_in_4bit", False):
            raise UnsupportedModelError(
                f"The checkpoint is of bitsandbytes, as {kind!r:.40}, which is not read.",
                hint=f"Read are load_in_8bit, and load_in_4bit as {' or '.join(_STATES)}.",
            )
        return cls(kind)

    def format_of(self, name: str, shape: Shape, pieces: Shapes) -> HeldFormat:
        needed = {*_TENSORS, self.state}
        is_complete = pieces.keys() in (needed, needed.union(_NESTED))
        if not is_complete or math.prod(pieces["weight"]) != -(-math.prod(shape) // 2):
            raise misfit(name, shape, pieces)
        return self.format

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        state = _read_state(name, pieces[self.state])
        check_dtype(name, "weight", pieces["weight"], (torch.uint8,))
        rows, columns = shape
        size = state.integer("blocksize")
        if columns % size:
            raise UnsupportedModelError(
                f"{name} has blocks of {size} codes, some of which span rows of {columns}.",
                hint="Use the checkpoint in bfloat16, with --weights int4.",
            )
        if state.list_of("shape", int) != [rows, columns]:
            raise misfit(name, shape, {"weight": tuple(state.list_of("shape", int))})
        table = pieces["weight.quant_map"]
        check_finite(name, table)
        scales = _scales(name, pieces, state)
        if table.shape != (16,) or scales.numel() != rows * columns // size:
            raise misfit(name, shape, {piece: tuple(t.shape) for piece, t in pieces.items()})
        codes = pieces["weight"].view(rows, columns // 2)
        return CodedWeight(
            format=self.format,
            shape=(rows, columns),
            codes=codes >> 4 | codes << 4,
            table=table.float(),
            scales=scales.view(rows, columns // size),
            block=(1, size),
        )


def _scales(name: str, pieces: Mapping[str, Tensor], state: RawConfig) -> Tensor:
    """float32 [blocks]."""
    scales = pieces["weight.absmax"]
    if "weight.nested_absmax" in pieces:
        check_dtype(name, "weight.absmax", scales, (torch.uint8,))
        whole, table = pieces["weight.nested_absmax"], pieces["weight.nested_quant_map"]
        size = state.integer("nested_blocksize")
        if table.shape != (256,) or whole.shape != (-(-scales.numel() // size),):
            raise misfit(name, (), {piece: tuple(t.shape) for piece, t in pieces.items()})
        blocks = torch.arange(scales.numel()) // size
        scales = look_up(table.float(), scales.flatten()) * whole.float()[blocks]
        scales = scales + state.number("nested_offset")
    check_dtype(name, "weight.absmax", scales, (torch.float32,))
    check_finite(name, scales)
    return scales


def _read_state(name: str, data: Tensor) -> RawConfig:
    if data.dtype != torch.uint8 or data.dim() != 1 or data.numel() > _MAX_STATE_BYTES:
        raise CheckpointError(f"{name} has a quant_state that is no JSON.")
    try:
        state = json.loads(bytes(data.tolist()))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} has a quant_state that is no JSON ({error}).") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{name} has a quant_state that is no JSON object.")
    return RawConfig(state, f"{name}: quant_state")
