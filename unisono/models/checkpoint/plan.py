"""What every weight of a model will be held as, decided once, before any is loaded.

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
from unisono.models.checkpoint.slots import HEAD, Slot, find_slots
from unisono.models.cut import Cut
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.parallel import Division

__all__ = ["Held", "WeightPlan"]


@dataclass(frozen=True, slots=True)
class Held:
    """What a weight will be held as."""

    format: HeldFormat | torch.dtype
    as_stored: bool = False
    """Whether the checkpoint's own form is kept; other formats are rounded to here."""


class WeightPlan:
    """A model without weights, the whole or a rank's part, and what each of them will be held as.

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
        self.slots = find_slots(model, division)
        """Where each of the checkpoint's weights goes, by its name."""
        self.stored = checkpoint.quantized(model, self.slots, dtype)
        """The checkpoint's quantised weights; None where it has none."""
        own = None if self.stored is None else self.stored.format
        _check_agreed(own, asked)
        self.format: HeldFormat | None = asked or own
        """What most linear weights are held as; None where they are numbers."""
        self.quantizes = asked is not None and asked != own
        """Whether linear weights are rounded here, whatever the checkpoint has."""
        self.held = {name: self._held_as(name, slot) for name, slot in self.slots.items()}

    def _held_as(self, name: str, slot: Slot) -> Held:
        linear = slot.linear
        if self.stored is not None and name in self.stored.formats:
            stays = linear is None or (linear.takes_stored_forms and not self.quantizes)
            if stays:
                return Held(self.stored.formats[name] or self.dtype, as_stored=True)
        if linear is not None and linear.quantizable and self.quantizes:
            assert isinstance(self.format, WeightFormat)
            return Held(self.format.of_head if name == HEAD else self.format)
        is_float32 = slot.parameter in getattr(slot.module, "float32_parameters", ())
        return Held(torch.float32 if is_float32 else self.dtype)

    def owner(self, name: str) -> str:
        """The weight that a tensor of the checkpoint is, or is a part of."""
        return (None if self.stored is None else self.stored.owner(name)) or name

    def linear(self, path: str) -> Linear:
        """The linear layer of that name in the model."""
        linear = self.model.get_submodule(path)
        assert isinstance(linear, Linear)
        return linear

    def dtype_of(self, name: str) -> torch.dtype:
        """The dtype in which a weight is read, unless it stays as stored."""
        format = self.held[name].format
        return format if isinstance(format, torch.dtype) else self.dtype

    @property
    def head_cut(self) -> Cut | None:
        """This rank's share of an embedding that is the head as well."""
        head, division = self.model.lm_head, self.division
        return None if division is None else division.cut(head, "lm_head", head.shape)

    @cached_property
    def tied_format(self) -> WeightFormat | None:
        """What a head that is the embedding is rounded to; None where it stays as that is."""
        is_tied = self.model.config.tie_embeddings
        return self.format.of_head if is_tied and isinstance(self.format, WeightFormat) else None

    @cached_property
    def rounded(self) -> dict[str, WeightFormat]:
        """The linear layers that are quantised here, by their names in the model."""
        rounded = {
            self.slots[name].path: held.format
            for name, held in self.held.items()
            if isinstance(held.format, WeightFormat) and not held.as_stored
        }
        return rounded if self.tied_format is None else {**rounded, "lm_head": self.tied_format}

    @property
    def num_parameters(self) -> int:
        """Weights of the whole model, tied ones counted once."""
        return sum(math.prod(slot.whole_shape) for slot in self.slots.values())

    @property
    def num_bytes(self) -> int:
        """Bytes of all weights here, as they will be held."""
        bits = sum(math.prod(self.slots[name].shape) * self._bits(name) for name in self.slots)
        if self.tied_format is not None:
            bits += math.prod(self.model.lm_head.shape) * self.tied_format.bits_per_weight
        return int(bits / 8)

    def _bits(self, name: str) -> float:
        """Bits per weight."""
        format, linear = self.held[name].format, self.slots[name].linear
        if isinstance(format, torch.dtype):
            return 8.0 * format.itemsize
        if linear is None:
            return format.bits_per_weight
        return linear.ops.block_bits.get(str(format), format.bits_per_weight)


def _check_agreed(own: HeldFormat | None, asked: WeightFormat | None) -> None:
    """Raises ConfigError: levels of the checkpoint are asked for in another format."""
    if isinstance(own, WeightFormat) and asked not in (None, own):
        raise ConfigError(
            f"The checkpoint holds its weights as {own}, they cannot become {asked}.",
            hint="Leave --weights out (auto), or take the checkpoint it was made from.",
        )
