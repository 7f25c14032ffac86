"""The tensors that a model needs, by their names in a checkpoint, and where each of them goes.

Knows no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unisono.hardware.base import Hardware
from unisono.hardware.weights.held_weight import HeldWeight
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.cut import Cut
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Embedding, Linear
from unisono.models.parallel import Division

HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"
"""The weights of the head and of the embedding, by their names in a checkpoint."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The destination of a checkpoint's tensor: a parameter of a module, or some rows of it."""

    path: str
    """The module's name in the model."""
    module: nn.Module
    parameter: str
    part: str | None
    """Index of the matrix among those stacked in a linear layer; None in other modules."""
    shape: tuple[int, ...]
    """On this rank."""
    cut: Cut | None
    """This rank's share of the tensor; None where it takes all."""

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """The shape in the checkpoint."""
        return self.shape if self.cut is None else self.cut.whole_shape(self.shape)

    @property
    def linear(self) -> Linear | None:
        """The linear layer of which this is the weight, or a part of it."""
        is_weight = self.parameter == "weight" and isinstance(self.module, Linear)
        return self.module if is_weight else None  # type: ignore[return-value]

    @property
    def rows(self) -> slice | None:
        """Rows of the parameter; None where it is all of it."""
        if self.part is None or not isinstance(self.module, Linear):
            return None
        return self.module.rows(self.part)

    def take(self, weight: HeldWeight, name: str, device: torch.device) -> None:
        """Give the module its share of a weight in a form of its own, which is called ``name``.

        Raises:
            ConfigError: ranks cannot divide the form.
        """
        weight = (weight if self.cut is None else self.cut.of_held(weight, name)).to(device)
        if isinstance(self.module, Linear) and self.part is not None:
            self.module.take(self.part, weight)
        else:
            assert isinstance(self.module, Embedding)
            self.module.hold(weight)

    def fill(self, numbers: Tensor, dtype: torch.dtype, hardware: Hardware) -> None:
        """Give the module its share of the checkpoint's ``numbers``, as ``dtype``."""
        shares = numbers.dtype == dtype and hardware.shares_host_memory
        if shares and isinstance(self.module, Embedding):
            self.module.hold(numbers)  # The mapped file serves a few rows a step.
            return
        if self.cut is not None:
            numbers = self.cut.of(numbers)
        target = getattr(self.module, self.parameter)
        if target.is_meta:
            target = torch.empty(target.shape, dtype=dtype, device=hardware.device)
            setattr(self.module, self.parameter, nn.Parameter(target, requires_grad=False))
        (target if self.rows is None else target[self.rows]).copy_(numbers)
        if self.linear is not None and self.part is not None:
            self.linear.take(self.part)


def find_slots(model: Decoder, division: Division | None) -> dict[str, Slot]:
    """Checkpoint name -> slot, for every tensor that ``model`` needs; with a ``division`` it is a
    rank's part."""
    slots: dict[str, Slot] = {}
    for path, module in model.named_modules():
        parts: Iterable[str | None] = module.parts if isinstance(module, Linear) else (None,)
        for parameter, tensor in module.named_parameters(recurse=False):
            for part in parts:
                shape = tuple(tensor.shape)
                if part is not None and isinstance(module, Linear):
                    shape = (module.parts[part], *shape[1:])
                cut = None if division is None else division.cut(module, part or parameter, shape)
                name = checkpoint_name(path, part, parameter)
                slots[name] = Slot(path, module, parameter, part, shape, cut)
    if model.config.tie_embeddings:
        slots.pop(HEAD, None)
    return slots


def linear_layers(slots: Mapping[str, Slot]) -> list[dict[str, Slot]]:
    """For each linear layer, the checkpoint's weights that are stacked in it."""
    layers: dict[str, dict[str, Slot]] = {}
    for name, slot in slots.items():
        if slot.linear is not None:
            layers.setdefault(slot.path, {})[name] = slot
    return list(layers.values())


def names_in(model: Decoder, stored: Iterable[str]) -> CheckpointNames:
    """The names in a checkpoint, whose tensors are called ``stored``, of what ``model`` has."""
    modules = {name for name, _ in model.named_children()} - {"lm_head", "score"}
    return model.checkpoint_names().found_in(stored, modules)


def is_ignorable(model: Decoder, name: str) -> bool:
    """True where a checkpoint's tensor carries nothing that the model needs."""
    is_head = name.startswith("lm_head.")
    unneeded = not model.has_head or (model.config.tie_embeddings and name == HEAD)
    return (is_head and unneeded) or name.endswith(model.ignored_weights)


def checkpoint_name(path: str, part: str | None, parameter: str) -> str:
    """The name in checkpoints of a parameter, or of a part of one, of the module at ``path``."""
    if part is not None:
        parent = path.rpartition(".")[0]
        path = f"{parent}.{part}" if parent else part
    name = f"{path}.{parameter}"
    return name if name.startswith(("lm_head.", "score.")) else f"model.{name}"
