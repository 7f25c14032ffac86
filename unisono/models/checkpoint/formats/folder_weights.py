"""A checkpoint whose linear weights are quantised: which of them, as what, from which tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from unisono.core.errors import CheckpointError
from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight, NumberWeight
from unisono.models.checkpoint.formats.stored_format import StoredFormat
from unisono.models.checkpoint.refusals import NUMBERS, check_shape
from unisono.models.checkpoint.safetensors_files import (
    TensorHeader,
    open_tensors,
    read_headers,
    stored_names,
)
from unisono.models.checkpoint.slots import Slot, linear_layers, names_in
from unisono.models.decoder import Decoder


class FolderWeights:
    """Its quantised weights by name (``model.layers.0.mlp.up_proj.weight``); others are as ever.

    Raises:
        CheckpointError: (constructor) tensors of a weight are missing, or contradict config.json.
    """

    def __init__(
        self, stored: StoredFormat, folder: Path, model: Decoder, slots: Mapping[str, Slot]
    ) -> None:
        self._stored, self._slots = stored, slots
        self.formats: dict[str, HeldFormat | None] = {}
        self._owners: dict[str, tuple[str, str]] = {}
        self._wanted: dict[str, frozenset[str]] = {}
        self._found: dict[str, dict[str, Tensor]] = {}
        headers = read_headers(folder, names_in(model, stored_names(folder)))
        for parts in linear_layers(slots):
            for name, slot in parts.items():
                self._find(name, slot.whole_shape, headers)
            if any(name in self.formats for name in parts):
                self._take_along(parts, headers)
        self.format = self._main_format(folder)
        self._added = frozenset(self._added_biases(headers))

    def _find(self, name: str, shape: tuple[int, ...], headers: Mapping[str, TensorHeader]) -> None:
        """Names of the tensors that stand for a weight; none where it is not quantised."""
        module = name.removesuffix(".weight")
        tensors = {piece: f"{module}.{piece}" for piece in self._stored.pieces}
        shapes = {p: headers[t].shape for p, t in tensors.items() if t in headers}
        if not shapes.keys() - {"weight"}:
            if name in headers and headers[name].dtype not in NUMBERS:
                raise CheckpointError(
                    f"{name} is stored as {headers[name].dtype}, and has no scales beside it.",
                    hint="The files may be incomplete, or of a format that is not read.",
                )
            return
        if name in headers and "weight" not in self._stored.pieces:
            raise CheckpointError(f"{name} is there twice, quantised and as it was.")
        self._wanted[name] = frozenset(shapes)
        self._owners.update({tensors[piece]: (name, piece) for piece in shapes})
        self.formats[name] = self._stored.format_of(name, shape, shapes)

    def _take_along(self, parts: Mapping[str, Slot], headers: Mapping[str, TensorHeader]) -> None:
        """Weights that are not quantised, of a layer in which others are."""
        for name in parts.keys() - self.formats.keys():
            if name in headers:
                check_shape(name, headers[name].shape, parts[name].whole_shape)
                self.formats[name], self._wanted[name] = None, frozenset(("weight",))
                self._owners[name] = name, "weight"

    def _added_biases(self, headers: Mapping[str, TensorHeader]) -> Iterator[str]:
        """Biases of zeros that the model has no place for."""
        if not self._stored.may_add_biases:
            return
        for weight, format in self.formats.items():
            name = f"{weight.removesuffix('.weight')}.bias"
            if format is not None and name in headers and name not in self._slots:
                part = headers[name].part
                with open_tensors(headers[name].path) as tensors:
                    if not bool(part.view(tensors.get_tensor(part.stored)).any()):
                        yield name

    def _main_format(self, folder: Path) -> HeldFormat:
        """The held format of most weights."""
        counts: Counter[HeldFormat] = Counter()
        for name, format in self.formats.items():
            if format is not None:
                counts[format] += math.prod(self._slots[name].whole_shape)
        if not counts:
            raise CheckpointError(
                f"{folder}: config.json states quantised weights, and there are none.",
                hint="config.json and the weights are not of the same model.",
            )
        return counts.most_common(1)[0][0]

    def owner(self, tensor_name: str) -> str | None:
        """The quantised weight, or one that goes with some, to which a tensor belongs."""
        owner = self._owners.get(tensor_name)
        return None if owner is None else owner[0]

    def is_ignorable(self, tensor_name: str) -> bool:
        """True where a tensor carries nothing that a weight needs."""
        last = tensor_name.rpartition(".")[2]
        return last in self._stored.ignored or tensor_name in self._added

    def add(self, tensor_name: str, tensor: Tensor) -> HeldWeight | None:
        """Take a tensor of a quantised weight; the weight, once its last one is there.

        Raises:
            CheckpointError: values that no quantised weight has.
        """
        name, piece = self._owners[tensor_name]
        pieces = self._found.setdefault(name, {})
        pieces[piece] = tensor
        if pieces.keys() != self._wanted[name]:
            return None
        del self._found[name]
        if self.formats[name] is None:
            return NumberWeight(pieces["weight"])
        return self._stored.unpack(name, self._slots[name].whole_shape, pieces)
