"""A checkpoint whose linear weights are quantised: which of them, as what, from which tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError, ConfigError
from unisono.core.weight_format import WeightFormat
from unisono.models.checkpoint.formats.stored_values import HeldFormat, StoredNumbers, StoredWeight
from unisono.models.checkpoint.formats.stored_weights import StoredFormat
from unisono.models.checkpoint.weights import (
    TensorHeader,
    check_shape,
    linear_parts,
    names_in,
    open_tensors,
    read_headers,
    stored_names,
    tensor_shapes,
)
from unisono.models.decoder import Decoder

__all__ = ["QuantizedCheckpoint"]

_PLAIN = ("BF16", "F16", "F32", "F64")


class QuantizedCheckpoint:
    """Its quantised weights by name (``model.layers.0.mlp.up_proj.weight``); others are as ever.

    Args:
        weights: what they are to be held as; ``auto`` is what the checkpoint has.

    Raises:
        CheckpointError: (constructor) tensors of a weight are missing, or contradict config.json.
        ConfigError: they cannot be held as that.
    """

    def __init__(
        self, stored: StoredFormat, folder: Path, model: Decoder, weights: str = "auto"
    ) -> None:
        self._stored = stored
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._formats: dict[str, HeldFormat] = {}
        self._owners: dict[str, tuple[str, str]] = {}
        self._wanted: dict[str, frozenset[str]] = {}
        self._found: dict[str, dict[str, Tensor]] = {}
        headers = read_headers(folder, names_in(model, stored_names(folder)))
        layers = linear_parts(model)
        for parts in layers:
            for name, shape in parts.items():
                self._find(name, shape, headers)
            if any(name in self._formats for name in parts):
                self._take_along(parts, headers)
        self.own_format = self._main_format(folder)
        self._asked = self._agreed(weights)
        self._added = frozenset(self._added_biases(model, headers))

    def _find(self, name: str, shape: tuple[int, ...], headers: Mapping[str, TensorHeader]) -> None:
        """Which tensors stand for a weight; none where it is not quantised."""
        module = name.removesuffix(".weight")
        tensors = {piece: f"{module}.{piece}" for piece in self._stored.pieces}
        shapes = {p: headers[t].shape for p, t in tensors.items() if t in headers}
        if not shapes.keys() - {"weight"}:
            if name in headers and headers[name].dtype not in _PLAIN:
                raise CheckpointError(
                    f"{name} is stored as {headers[name].dtype}, and has no scales beside it.",
                    hint="The files may be incomplete, or of a format that is not read.",
                )
            return
        if name in headers and "weight" not in self._stored.pieces:
            raise CheckpointError(f"{name} is there twice, quantised and as it was.")
        self._shapes[name], self._wanted[name] = shape, frozenset(shapes)
        self._owners.update({tensors[piece]: (name, piece) for piece in shapes})
        self._formats[name] = self._stored.format_of(name, shape, shapes)

    def _take_along(
        self, parts: Mapping[str, tuple[int, ...]], headers: Mapping[str, TensorHeader]
    ) -> None:
        """Weights that are not quantised, of a layer in which others are."""
        for name in parts.keys() - self._formats.keys():
            if name in headers:
                check_shape(name, headers[name].shape, parts[name])
                self._wanted[name] = frozenset(("weight",))
                self._owners[name] = name, "weight"

    def _added_biases(self, model: Decoder, headers: Mapping[str, TensorHeader]) -> Iterator[str]:
        """Biases of zeros that the model has no place for."""
        if not self._stored.may_add_biases:
            return
        known = tensor_shapes(model)
        for weight in self._formats:
            name = f"{weight.removesuffix('.weight')}.bias"
            if name in headers and name not in known:
                part = headers[name].part
                with open_tensors(headers[name].path) as tensors:
                    if not bool(part.view(tensors.get_tensor(part.stored)).any()):
                        yield name

    def _main_format(self, folder: Path) -> HeldFormat:
        """That of most weights."""
        counts: Counter[HeldFormat] = Counter()
        for name, format in self._formats.items():
            counts[format] += math.prod(self._shapes[name])
        if not counts:
            raise CheckpointError(
                f"{folder}: config.json states quantised weights, and there are none.",
                hint="config.json and the weights are not of the same model.",
            )
        return counts.most_common(1)[0][0]

    def _agreed(self, weights: str) -> WeightFormat | None:
        asked = WeightFormat.parse(weights)
        levels = isinstance(self.own_format, WeightFormat)
        if levels and asked not in (None, self.own_format):
            raise ConfigError(
                f"The checkpoint holds its weights as {self.own_format}, they cannot become"
                f" {asked}.",
                hint="Leave --weights out (auto), or take the checkpoint it was made from.",
            )
        return asked

    @property
    def converts(self) -> bool:
        """Whether weights become another format than the checkpoint's."""
        return self._asked is not None and self._asked != self.own_format

    @property
    def format(self) -> HeldFormat:
        """What most weights are held as."""
        return self._asked or self.own_format

    @property
    def of_others(self) -> WeightFormat | None:
        """The format of weights that are not quantised in the checkpoint, but are to be."""
        return self.format if isinstance(self.format, WeightFormat) else None

    def num_bytes(self, model: Decoder, dtype: torch.dtype) -> int:
        """Of the weights of ``model`` or of a rank's part of it, before any is loaded."""
        bits = 8.0 * model.embed_tokens.weight.numel() * dtype.itemsize
        for parts in linear_parts(model):
            for name, shape in parts.items():
                format = self._formats.get(name)
                each = 8 * dtype.itemsize if format is None else format.bits_per_weight
                bits += math.prod(shape) * each
        if model.config.tie_embeddings:
            head = self.of_others
            each = 0 if head is None else head.of_head.bits_per_weight
            bits += model.lm_head.weight.numel() * each
        return int(bits / 8)

    def owner(self, tensor_name: str) -> str | None:
        """The quantised weight, or one that goes with some, to which a tensor belongs."""
        owner = self._owners.get(tensor_name)
        return None if owner is None else owner[0]

    def is_ignorable(self, tensor_name: str) -> bool:
        """Whether a tensor carries nothing that a weight needs."""
        last = tensor_name.rpartition(".")[2]
        return last in self._stored.ignored or tensor_name in self._added

    def add(self, tensor_name: str, tensor: Tensor) -> StoredWeight | None:
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
        if name not in self._formats:
            return StoredNumbers(pieces["weight"])
        return self._stored.unpack(name, self._shapes[name], pieces)
