"""Weights as codes: each stands for a number in a table, and a block of them shares a scale.

Holds what the integer formats of ``quantized.py`` do not: float formats of 8 and 4 bits, tables of
a checkpoint's own, blocks that span rows, groups of any size and in any order. A table serves where
a device has no such dtype, and it is faster than a conversion where it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.hardware.weights.held_weight import CodedFormat, HeldWeight


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedWeight(HeldWeight):
    """A weight [N, K] of values (table[code] - zero) * scale, each operation in float32.

    A scale is shared by ``block`` (rows, columns) of the weight, blocks at the edges being smaller;
    with ``groups``, by the columns of one group instead.
    """

    format: CodedFormat
    shape: tuple[int, int]
    codes: Tensor
    """uint8 [N, K]; of 4 bits [N, K / 2], rounded up, the first of two in the low bits."""
    table: Tensor
    """float32 [256], or [16] where codes have 4 bits."""
    scales: Tensor
    """[blocks of rows, blocks of columns or groups], of a float dtype, or entries of
    ``scale_table``."""
    block: tuple[int, int]
    scale_table: Tensor | None = None
    """float32 [256]: what each byte of ``scales`` means."""
    zeros: Tensor | None = None
    """Numbers of any dtype, in the shape of ``scales``."""
    groups: Tensor | None = None
    """int32 [K]: the group of each column."""

    @property
    def num_bytes(self) -> int:
        parts = self.codes, self.scales, self.zeros, self.groups
        return sum(part.nbytes for part in parts if part is not None)

    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        codes = self.codes[start:stop]
        if len(self.table) == 16:
            codes = unpack_nibbles(codes)[:, : self.shape[1]]
        values = look_up(self.table, codes)
        rows = torch.arange(start, stop, device=codes.device)
        of_row = rows.div_(self.block[0], rounding_mode="floor")
        if self.zeros is not None:
            values = values.sub_(self._spread(self.zeros.index_select(0, of_row).float()))
        scales = self.scales.index_select(0, of_row)
        scales = scales.float() if self.scale_table is None else look_up(self.scale_table, scales)
        return values.mul_(self._spread(scales)).to(dtype)

    def _spread(self, shared: Tensor) -> Tensor:
        """[R, G] -> [R, K], or [R, 1] where a row has one."""
        if self.groups is not None:
            return shared.index_select(1, self.groups)
        if shared.shape[1] == 1:
            return shared
        return shared.unsqueeze(-1).expand(-1, -1, self.block[1]).flatten(1)[:, : self.shape[1]]

    def _with_shared(self, change: Callable[[Tensor], Tensor]) -> CodedWeight:
        zeros = None if self.zeros is None else change(self.zeros)
        return replace(self, scales=change(self.scales), zeros=zeros)

    def narrow(self, dim: int, start: int, length: int) -> CodedWeight:
        return self._some_columns(start, length) if dim else self._some_rows(start, length)

    def _some_rows(self, start: int, length: int) -> CodedWeight:
        tall, wide = self.block
        if start % tall:  # Within a block: each row gets a scale of its own.
            by_row = self._with_shared(lambda shared: shared.repeat_interleave(tall, 0))
            return replace(by_row, block=(1, wide))._some_rows(start, length)
        first, count = start // tall, -(-length // tall)
        part = self._with_shared(lambda shared: shared.narrow(0, first, count))
        codes = self.codes.narrow(0, start, length)
        return replace(part, shape=(length, self.shape[1]), codes=codes)

    def _some_columns(self, start: int, length: int) -> CodedWeight:
        if len(self.table) == 16:
            codes = pack_nibbles(unpack_nibbles(self.codes).narrow(1, start, length))
        else:
            codes = self.codes.narrow(1, start, length)
        groups = self.groups
        if groups is None and self.scales.shape[1] > 1:
            columns = torch.arange(self.shape[1], dtype=torch.int32, device=self.codes.device)
            groups = columns.div_(self.block[1], rounding_mode="floor")
        groups = None if groups is None else groups.narrow(0, start, length)
        return replace(self, shape=(self.shape[0], length), codes=codes, groups=groups)


def look_up(table: Tensor, codes: Tensor) -> Tensor:
    """Values of ``codes`` by ``table``, in the shape of the codes."""
    return table.index_select(0, codes.flatten().int()).view(codes.shape)


def float8_table(dtype: torch.dtype) -> Tensor:
    """float32 [256]: what each byte of an 8-bit float dtype means."""
    return torch.arange(256).to(torch.uint8).view(dtype).float()


def exponent_table() -> Tensor:
    """float32 [256]: a byte e stands for 2^(e - 127), the last for no number (e8m0)."""
    return torch.tensor([2.0 ** (e - 127) for e in range(255)] + [math.nan])


def pack_nibbles(codes: Tensor) -> Tensor:
    """uint8 [R, C] of numbers below 16 -> [R, C / 2], rounded up."""
    if codes.shape[1] % 2:
        codes = F.pad(codes, (0, 1))
    return codes[:, 0::2] | codes[:, 1::2] << 4


def unpack_nibbles(octets: Tensor) -> Tensor:
    """The reverse, [R, 2 C]."""
    return torch.stack((octets & 15, octets >> 4), dim=-1).flatten(1)
