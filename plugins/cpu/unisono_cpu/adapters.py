"""The adapters of a decoder as its native call reads them; made anew whenever they change."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unisono.hardware import LowRankPart, StandardLayer, StandardLinear
from unisono_cpu import library

_LANES = 16
_DTYPES = {torch.bfloat16: 0, torch.float32: 1}


class NativeAdapters:
    """All that are loaded; a step says which of its tokens has which."""

    def __init__(self, layers: Sequence[StandardLayer]) -> None:
        products = [product for layer in layers for product in _products(layer)]
        parts = [product.adapters() for product in products]
        numbers = sorted({number for each in parts for number in each})
        self._kept: list[object] = []
        entries = [self._low_rank(each.get(number, ())) for each in parts for number in numbers]
        self._low_ranks = (library.LowRank * max(1, len(entries)))(*entries)
        self._indices = torch.full((max(numbers, default=0) + 1,), -1, dtype=torch.int32)
        for index, number in enumerate(numbers):
            self._indices[number] = index
        self._num_adapters = len(numbers)

    def of_step(self, numbers: Tensor) -> library.Adapters:
        """The structure for tokens of these adapters, int64 [T]; valid while it is referred to."""
        of_tokens = self._indices[numbers].contiguous()
        found = library.Adapters(of_tokens.data_ptr(), self._num_adapters, 0, self._low_ranks)
        found.kept = of_tokens
        return found

    def _low_rank(self, parts: Sequence[LowRankPart]) -> library.LowRank:
        if not parts:
            return library.LowRank()
        dtype, cols = parts[0].down.dtype, parts[0].down.shape[1]
        rank = sum(len(part.down) for part in parts)
        padded = -(-rank // _LANES) * _LANES
        down = torch.zeros(padded, cols, dtype=dtype)
        torch.cat([part.down for part in parts], out=down[:rank])
        down = down.view(-1, _LANES, cols).transpose(1, 2).contiguous()
        structures, offset = [], 0
        for rows, own, up in parts:
            first, stop = rows.start // _LANES * _LANES, -(-rows.stop // _LANES) * _LANES
            wide = torch.zeros(stop - first, len(own), dtype=dtype)
            wide[rows.start - first : rows.stop - first] = up
            up = wide.view(-1, _LANES, len(own)).transpose(1, 2).contiguous()
            self._kept.append(up)
            structures.append(
                library.LowRankPart(first, stop - first, len(own), offset, up.data_ptr())
            )
            offset += len(own)
        listed = (library.LowRankPart * len(structures))(*structures)
        self._kept += [down, listed]
        return library.LowRank(cols, padded, _DTYPES[dtype], down.data_ptr(), listed, len(listed))


def _products(layer: StandardLayer) -> tuple[StandardLinear, ...]:
    attention, mlp = layer.attention, layer.mlp
    return attention.qkv, attention.output, mlp.gate_up, mlp.down
