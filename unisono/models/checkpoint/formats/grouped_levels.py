"""Integer levels as most formats store them: inputs in groups that share a scale and a zero.

Decides what a device holds them as: levels, which some have fast products for, where a format of
the hardware's says the same; otherwise codes that are looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.coded_weight import CodedWeight, pack_nibbles
from unisono.hardware.weights.held_weight import CodedFormat, HeldFormat, HeldWeight
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.reordered_weight import ReorderedWeight

_HELD_GROUPS = (128, 64, 32)


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelGroups:
    """The quantisation of some linear weights; without a ``group_size`` a row shares its scale.

    ``ordered``: a group is not of consecutive inputs, but of those that the weight names.
    """

    bits: int
    symmetric: bool
    group_size: int | None
    ordered: bool = False

    def num_groups(self, columns: int) -> int:
        return 1 if self.group_size is None else -(-columns // self.group_size)

    @property
    def held(self) -> HeldFormat:
        """The held format of such weights."""
        if self._fits(self.symmetric):
            return self._levels_format(self.symmetric)
        return self._codes_format()

    def _fits(self, symmetric: bool) -> bool:
        size = self.group_size or _HELD_GROUPS[0]
        return self.bits in (4, 8) and (symmetric or self.bits == 4) and not size % 32

    def _levels_format(self, symmetric: bool) -> WeightFormat:
        """The format with groups no larger than these, that divide them."""
        size = self.group_size or _HELD_GROUPS[0]
        group = next(group for group in _HELD_GROUPS if size % group == 0)
        return WeightFormat(bits=self.bits, symmetric=symmetric, group_size=group)

    def _codes_format(self) -> CodedFormat:
        zeros = "" if self.symmetric else "-asym"
        size = "" if self.group_size is None else f"-g{self.group_size}"
        order = "-ordered" if self.ordered else ""
        share = (
            0.0 if self.group_size is None else (16 + 8 * (not self.symmetric)) / self.group_size
        )
        bits = 4 if self.bits <= 4 else 8
        return CodedFormat(f"int{self.bits}{zeros}{size}{order}", bits + share)

    def store(
        self,
        name: str,
        levels: Tensor,
        scales: Tensor,
        zeros: Tensor | None,
        groups: Tensor | None = None,
    ) -> HeldWeight:
        """The weight of these values, (level - zero) * scale.

        Args:
            levels: uint8 [N, K].
            scales: float [N, G].
            zeros: uint8 [N, G]; None where it is the middle level.
            groups: integers [K], the group of each input; None where they are consecutive.

        Raises:
            CheckpointError: ``groups`` names one that is not there.
        """
        groups = None if groups is None else self._order(name, groups, scales.shape[1])
        symmetric = zeros is None or bool(self.symmetric and (zeros == self._middle).all())
        order = None if groups is None else self._together(groups)
        if not self._fits(symmetric) or (groups is not None and order is None):
            return self._codes(levels, scales, zeros, groups)
        columns = levels.shape[1]
        zeros = None if symmetric or zeros is None else self._split(zeros, columns)
        scales = self._split(scales.float(), columns)
        levels = levels if order is None else levels.index_select(1, order)
        held = LevelWeight(
            self._levels_format(symmetric), (len(levels), columns), levels, scales, zeros
        )
        return held if order is None else ReorderedWeight(order, held)

    def _together(self, groups: Tensor) -> Tensor | None:
        """The columns group by group; None where groups are not of equal size."""
        order = torch.argsort(groups, stable=True)
        size = self.group_size or len(groups)
        consecutive = torch.arange(len(groups), dtype=groups.dtype) // size
        return order if torch.equal(groups[order], consecutive) else None

    @property
    def _middle(self) -> int:
        return 1 << (self.bits - 1)

    def _order(self, name: str, groups: Tensor, count: int) -> Tensor | None:
        """None where they are consecutive, or all 0, which stands for "not set"."""
        if int(groups.min()) < 0 or int(groups.max()) >= count:
            raise CheckpointError(
                f"{name} has {count} groups, and inputs of groups {int(groups.min())} to"
                f" {int(groups.max())}.",
                hint="The file is damaged, or config.json is of another model.",
            )
        size = self.group_size or len(groups)
        consecutive = torch.arange(len(groups)) // size
        unset = not bool(groups.any())
        return None if unset or torch.equal(groups.long(), consecutive) else groups.int()

    def _split(self, shared: Tensor, columns: int) -> Tensor:
        """Scales and zeros repeated for the smaller groups of a device."""
        held = self._levels_format(self.symmetric).group_size
        count = -(-columns // held)
        if self.group_size is None or shared.shape[1] == 1:
            return shared.expand(-1, count)
        return shared.repeat_interleave(self.group_size // held, dim=1)[:, :count]

    def _codes(
        self, levels: Tensor, scales: Tensor, zeros: Tensor | None, groups: Tensor | None
    ) -> CodedWeight:
        if zeros is None:
            zeros = torch.full(scales.shape, self._middle, dtype=torch.uint8)
        narrow = self.bits <= 4
        return CodedWeight(
            format=self._codes_format(),
            shape=(levels.shape[0], levels.shape[1]),
            codes=pack_nibbles(levels) if narrow else levels,
            table=torch.arange(16 if narrow else 256).float(),
            scales=scales,
            zeros=zeros,
            block=(1, self.group_size or levels.shape[1]),
            groups=groups,
        )
