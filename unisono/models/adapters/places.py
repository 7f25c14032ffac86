"""The linear layers of a model that an adapter can be added to, by the names in its files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unisono.models.checkpoint.names import StoredPart
from unisono.models.checkpoint.slots import checkpoint_name
from unisono.models.cut import Cut
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.parallel import Division


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a linear layer."""

    path: str
    """Name of the layer in the model."""
    linear: Linear
    part: str
    cut: Cut | None
    """This rank's share of the part's weight; None where it takes all."""

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs of the whole part."""
        own = (self.linear.parts[self.part], self.linear.shape[1])
        rows, columns = own if self.cut is None else self.cut.whole_shape(own)
        return rows, columns


class Places:
    """The parts of all linear layers of a model."""

    def __init__(self, model: Decoder, division: Division | None = None) -> None:
        self._names = model.checkpoint_names()
        self._places = {
            checkpoint_name(place.path, place.part, "weight"): place
            for place in _all_places(model, division)
        }

    def __iter__(self) -> Iterator[tuple[str, Place]]:
        """Names of modules in checkpoints, and their places."""
        for name, place in self._places.items():
            yield name.removesuffix(".weight"), place

    def of(self, module: str) -> list[tuple[StoredPart, Place]]:
        """The places that a module of transformers' stands for, each with its share of the rows;
        empty where the model has no such layer. Names of a model without a head lack ``model.``."""
        return self._of(module) or self._of(f"model.{module}")

    def _of(self, module: str) -> list[tuple[StoredPart, Place]]:
        parts = self._names.parts(f"{module}.weight")
        found = [(part, self._places[part.name]) for part in parts if part.name in self._places]
        return found if len(found) == len(parts) else []


def _all_places(model: Decoder, division: Division | None) -> Iterator[Place]:
    for path, module in model.named_modules():
        if not isinstance(module, Linear):
            continue
        for part, rows in module.parts.items():
            shape = (rows, module.shape[1])
            cut = None if division is None else division.cut(module, part, shape)
            yield Place(path, module, part, cut)
