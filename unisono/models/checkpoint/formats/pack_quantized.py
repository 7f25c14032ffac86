"""The form ``pack-quantized`` of compressed-tensors: integer levels, written and read.

A module's ``weight`` [N, K] of b bits becomes

- ``weight_packed`` int32 [N, K b / 32]: levels, counted from 0, the first in the lowest bits;
- ``weight_scale`` [N, G]: G groups of K / G inputs, or one for the row;
- ``weight_zero_point`` int32 [N b / 32, G], packed along N; only where zeros are not in the middle;
- ``weight_g_idx`` int32 [K]: the group of each input; only where they are not consecutive;
- ``weight_shape`` int64 [2].

Source: github.com/vllm-project/compressed-tensors, version 0.20, ``compressors/pack_quantized``;
for ``weight_g_idx`` version 0.12, ``quantization/lifecycle/forward.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.models.checkpoint.formats.bit_packing import from_words, num_words, to_words
from unisono.models.checkpoint.formats.grouped_levels import LevelGroups
from unisono.models.checkpoint.formats.stored_checks import (
    FLOATS,
    INTEGERS,
    Shape,
    check_dtype,
    check_finite,
)

FORM = "pack-quantized"
_DTYPES: dict[str, tuple[torch.dtype, ...]] = {
    "weight_packed": (torch.int32,),
    "weight_scale": FLOATS,
    "weight_zero_point": (torch.int32,),
    "weight_g_idx": INTEGERS,
    "weight_shape": (torch.int64, torch.int32),
}
"""Dtypes that are read, by tensor; the first is the one that is written."""


@dataclass(frozen=True, slots=True)
class PackQuantized:
    """Levels packed in words."""

    groups: LevelGroups

    def layout(self, shape: Shape) -> dict[str, Shape]:
        """The tensors that stand for a weight [N, K], by last part of the name."""
        rows, columns = shape
        bits, groups = self.groups.bits, self.groups.num_groups(columns)
        layout: dict[str, Shape] = {
            "weight_packed": (rows, num_words(columns, bits)),
            "weight_scale": (rows, groups),
            "weight_shape": (2,),
        }
        if not self.groups.symmetric:
            layout["weight_zero_point"] = (num_words(rows, bits), groups)
        if self.groups.ordered:
            layout["weight_g_idx"] = (columns,)
        return layout

    def held(self, shape: Shape) -> HeldFormat:
        return self.groups.held

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        _check_values(name, shape, pieces)
        bits = self.groups.bits
        zeros = pieces.get("weight_zero_point")
        if zeros is not None:
            zeros = from_words(zeros.T, bits, shape[0]).T
        levels = from_words(pieces["weight_packed"], bits, shape[1])
        groups = pieces.get("weight_g_idx")
        return self.groups.store(name, levels, pieces["weight_scale"], zeros, groups)


def _check_values(name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> None:
    for piece, tensor in pieces.items():
        check_dtype(name, piece, tensor, _DTYPES[piece])
    if pieces["weight_shape"].tolist() != list(shape):
        raise CheckpointError(
            f"{name} has shape {list(shape)} by the configuration, its weight_shape says"
            f" {pieces['weight_shape'].tolist()}.",
            hint="config.json and the weights are not of the same model.",
        )
    check_finite(name, pieces["weight_scale"])


# -- writing ----------------------------------------------------------------------------------


def pack(weight: LevelWeight) -> dict[str, Tensor]:
    """The tensors that stand for a weight whose groups are whole, by last part of the name."""
    bits = weight.format.bits
    tensors = {
        "weight_packed": to_words(weight.levels, bits),
        "weight_scale": weight.scales.bfloat16(),
        "weight_shape": torch.tensor(weight.shape, dtype=torch.int64),
    }
    if weight.zeros is not None:
        tensors["weight_zero_point"] = to_words(weight.zeros.T, bits).T.contiguous()
    return tensors


def packed_tensors(format: WeightFormat, shape: Shape) -> dict[str, tuple[torch.dtype, Shape]]:
    """Dtype and shape of what ``pack`` makes of a weight [N, K]."""
    groups = LevelGroups(bits=format.bits, symmetric=format.symmetric, group_size=format.group_size)
    layout = PackQuantized(groups).layout(shape)
    return {piece: (_DTYPES[piece][0], dimensions) for piece, dimensions in layout.items()}


def quantization_config(
    layers: WeightFormat, head: WeightFormat | None, *, kept: Sequence[str] = ()
) -> dict[str, Any]:
    """The entry of ``config.json``; without a format the head stays as it is, and so do layers of
    the names ``kept``."""
    groups = {"group_0": _group("Linear", layers)}
    if head is not None:
        groups["group_1"] = _group("lm_head", head)
    return {
        "quant_method": "compressed-tensors",
        "format": FORM,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": [*(["lm_head"] if head is None else []), *(rf"re:.*\.{name}$" for name in kept)],
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
    }


def _group(target: str, format: WeightFormat) -> dict[str, Any]:
    weights = {
        "num_bits": format.bits,
        "type": "int",
        "symmetric": format.symmetric,
        "strategy": "group",
        "group_size": format.group_size,
        "dynamic": False,
    }
    return {
        "targets": [target],
        "weights": weights,
        "input_activations": None,
        "output_activations": None,
        "format": FORM,
    }
