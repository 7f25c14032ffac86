"""The plan of the weights: what each will be held as, decided once, before any is loaded.

Memory checks, the cache of quantised weights, `unisono quantize` and loading read it here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from unisono.core.errors import ConfigError
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.held_weight import HeldFormat
from unisono.models.checkpoint.checkpoint import Checkpoint
from unisono.models.checkpoint.slots import HEAD, TABLE, Slot, find_slots
from unisono.models.cut import Cut
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.parallel import Division


@dataclass(frozen=True, slots=True)
class PlannedWeight:
    """A weight, or one of those that are stacked in a linear layer: where it goes, and as what."""

    slot: Slot
    """The module that holds it, its shape, and this rank's share of the checkpoint's."""
    dtype: torch.dtype
    """Dtype of its numbers, as they are read; they may be rounded to a format then."""
    format: HeldFormat | None = None
    """The held format; None: numbers of ``dtype``."""
    as_stored: bool = False
    """True where the checkpoint has it in this form; otherwise it becomes ``format`` here."""

    @property
    def num_bytes(self) -> float:
        """Bytes on this device."""
        return math.prod(self.slot.shape) * self._bits / 8

    @property
    def _bits(self) -> float:
        """Bits per weight; a device may have another form for codes."""
        linear, format = self.slot.linear, self.format
        if format is None:
            return 8.0 * self.dtype.itemsize
        own = {} if linear is None else linear.ops.block_bits
        return own.get(str(format), format.bits_per_weight)


class WeightPlan:
    """A model without weights, the whole or a rank's part, and what it will hold.

    Args:
        dtype: of weights that are not quantised.
        weights: what linear weights are to be held as, as ``WeightFormat.parse`` reads it.
        division: how the model is divided among ranks; None where it is whole.

    Raises:
        ModelError: (constructor) the checkpoint's quantised weights cannot be read.
        ConfigError: (constructor) they cannot become what ``weights`` says.
    """

    def __init__(
        self,
        model: Decoder,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        weights: str = "auto",
        division: Division | None = None,
    ) -> None:
        asked = WeightFormat.parse(weights)
        self.model, self.dtype, self.division = model, dtype, division
        slots = find_slots(model, division)
        self.stored = checkpoint.quantized(model, slots, dtype)
        """The checkpoint's quantised weights; None where it has none."""
        own = None if self.stored is None else self.stored.format
        _check_agreed(own, asked)
        self.format: HeldFormat | None = asked or own
        """The format of most linear weights; None where they are numbers."""
        self.quantizes = asked is not None and asked != own
        """True where linear weights are rounded here, whatever the checkpoint has."""
        self.weights = {name: self._planned(name, slot) for name, slot in slots.items()}
        """Every weight that the model needs, by its name in the checkpoint."""

    def _planned(self, name: str, slot: Slot) -> PlannedWeight:
        linear, stored = slot.linear, {} if self.stored is None else self.stored.formats
        stays = linear is None or (linear.takes_stored_forms and not self.quantizes)
        if name in stored and stays:
            return PlannedWeight(slot, self.dtype, stored[name], as_stored=True)
        if linear is not None and linear.quantizable and self.quantizes:
            assert isinstance(self.format, WeightFormat)
            format = self.format.of_head if name == HEAD else self.format
            return PlannedWeight(slot, self.dtype, format)
        is_float32 = slot.parameter in getattr(slot.module, "float32_parameters", ())
        return PlannedWeight(slot, torch.float32 if is_float32 else self.dtype)

    def owner(self, name: str) -> str:
        """The weight that a tensor of the checkpoint is, or is a part of."""
        return (None if self.stored is None else self.stored.owner(name)) or name

    def linear(self, path: str) -> Linear:
        """The linear layer of that name in the model."""
        linear = self.model.get_submodule(path)
        assert isinstance(linear, Linear)
        return linear

    @property
    def head_cut(self) -> Cut | None:
        """This rank's share of an embedding that is the head as well."""
        head, division = self.model.lm_head, self.division
        return None if division is None else division.cut(head, "lm_head", head.shape)

    @cached_property
    def tied_format(self) -> WeightFormat | None:
        """The format of a head that is the embedding too; None where it stays as that is."""
        is_tied = self.model.config.tie_embeddings
        return self.format.of_head if is_tied and isinstance(self.format, WeightFormat) else None

    @cached_property
    def rounded(self) -> dict[str, WeightFormat]:
        """The linear layers that are quantised here, by their names in the model."""
        rounded = {
            weight.slot.path: weight.format
            for weight in self.weights.values()
            if isinstance(weight.format, WeightFormat) and not weight.as_stored
        }
        return rounded if self.tied_format is None else {**rounded, "lm_head": self.tied_format}

    @property
    def num_parameters(self) -> int:
        """Weights of the whole model, tied ones counted once."""
        return sum(math.prod(weight.slot.whole_shape) for weight in self.weights.values())

    @property
    def num_bytes(self) -> int:
        """Bytes of all weights on this device."""
        num_bytes = sum(weight.num_bytes for weight in self.weights.values())
        return int(num_bytes + math.prod(self.model.lm_head.shape) * self._tied_bits / 8)

    @property
    def _tied_bits(self) -> float:
        """Bits per weight of a head that is the embedding too, in a form beside the embedding's."""
        if self.tied_format is not None:
            return self.tied_format.bits_per_weight
        if not self.model.config.tie_embeddings:
            return 0.0
        return self.model.lm_head.ops.block_bits.get(str(self.weights[TABLE].format), 0.0)


def _check_agreed(own: HeldFormat | None, asked: WeightFormat | None) -> None:
    """Raises ConfigError: levels of the checkpoint are asked for in another format."""
    if isinstance(own, WeightFormat) and asked not in (None, own):
        raise ConfigError(
            f"The checkpoint holds its weights as {own}, they cannot become {asked}.",
            hint="Leave --weights out (auto), or take the checkpoint it was made from.",
        )
