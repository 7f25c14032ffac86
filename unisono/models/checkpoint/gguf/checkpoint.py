"""A model in a GGUF file: its configuration, and its tensors as a checkpoint's.

The file is mapped. Quantised weights stay blocks of it, where the device reads the host's memory
without a copy.
"""

from __future__ import annotations

import math
import mmap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.core.ggml import GgmlType
from unisono.gguf.files import GgufFile
from unisono.gguf.header import TensorInfo
from unisono.hardware.weights.block_weight import BlockWeight
from unisono.hardware.weights.ggml_blocks import READABLE_TYPES
from unisono.hardware.weights.held_weight import CodedFormat, HeldWeight
from unisono.models.checkpoint.checkpoint import Checkpoint
from unisono.models.checkpoint.gguf.config import ROPE_FACTORS, read_gguf_config
from unisono.models.checkpoint.gguf.families import find_gguf_family
from unisono.models.checkpoint.gguf.names import by_expert, checkpoint_name, head_order
from unisono.models.checkpoint.names import CheckpointNames, StoredPart
from unisono.models.checkpoint.refusals import NUMBERS, check_shape
from unisono.models.checkpoint.slots import TABLE, Slot, linear_layers
from unisono.models.decoder import Decoder

_TURNED = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}


class GgufCheckpoint(Checkpoint):
    """Raises:
    CheckpointError: (constructor) a file is missing or damaged, or lacks a value.
    UnsupportedModelError: (constructor) a family, variant or type that is not read.
    """

    def __init__(self, path: Path) -> None:
        self._file = GgufFile.read(path)
        self._family = find_gguf_family(self._file)
        self._mapped: dict[Path, Tensor] = {}
        self.files = self._file.paths
        self.config = read_gguf_config(self._file, self._family, self._rope_factors())
        self._infos: dict[str, TensorInfo] = {}
        for name, info in self._file.tensors.items():
            if name != ROPE_FACTORS:
                self._infos |= by_expert(checkpoint_name(name, self._family), info)

    def _rope_factors(self) -> list[float] | None:
        info = self._file.tensors.get(ROPE_FACTORS)
        if info is None:
            return None
        if info.type.name != "F32" or len(info.shape) != 1:
            raise CheckpointError(f"{info.path.name}: {ROPE_FACTORS} is not a list of float32.")
        return self._plain(info).tolist()

    def names(self, path: Path) -> list[str]:
        return [name for name, info in self._infos.items() if info.path == path]

    def tensors(
        self, path: Path, parts: Sequence[StoredPart]
    ) -> Iterator[tuple[StoredPart, Tensor]]:
        """Numbers as they are; blocks as uint8 [rows, bytes]."""
        for part in parts:
            info = self._infos[part.stored]
            tensor = self._plain(info) if info.type.name in NUMBERS else self._octets(info)
            if self._family.norms_plus_one and part.stored.endswith("norm.weight"):
                tensor = tensor - 1
            yield part, part.view(self._in_order(part.stored, tensor))

    def _octets(self, info: TensorInfo) -> Tensor:
        data = self._map(info.path)[info.start : info.start + info.num_bytes]
        return data.view(-1, info.type.row_bytes(info.shape[-1]))

    def _plain(self, info: TensorInfo) -> Tensor:
        return self._octets(info).view(NUMBERS[info.type.name]).view(info.shape)

    def _map(self, path: Path) -> Tensor:
        if path not in self._mapped:
            with path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            self._mapped[path] = torch.frombuffer(content, dtype=torch.uint8)
        return self._mapped[path]

    def _in_order(self, name: str, tensor: Tensor) -> Tensor:
        """With rows of heads as they are rotated here."""
        field = _TURNED.get(name.rsplit(".", 2)[-2]) if self._family.interleaved_heads else None
        if field is None:
            return tensor
        heads = self.config.integer(field, self.config.integer("num_attention_heads"))
        if len(tensor) % (2 * heads):  # The check of shapes will say what is wrong.
            return tensor
        return tensor.index_select(0, head_order(len(tensor), heads))

    def quantized(
        self, model: Decoder, slots: Mapping[str, Slot], dtype: torch.dtype
    ) -> GgufWeights | None:
        """Raises:
        CheckpointError: a weight has another shape than the configuration says.
        UnsupportedModelError: a type that is not read.
        """
        infos = self._infos_of(model.checkpoint_names())
        packed = {name for name, info in infos.items() if info.type.name not in NUMBERS}
        layers = [{TABLE: slots[TABLE]}, *linear_layers(slots)]
        own: dict[str, TensorInfo] = {}
        for name, slot in (
            (n, s) for layer in layers if packed & layer.keys() for n, s in layer.items()
        ):
            if name in infos:
                _check_readable(name, infos[name].type.name)
                check_shape(name, infos[name].shape, slot.whole_shape)
                own[name] = infos[name]
        return GgufWeights(own, dtype) if own else None

    def _infos_of(self, names: CheckpointNames) -> dict[str, TensorInfo]:
        """By our names; a tensor that is several matrices is there with the shape of each."""
        infos = {}
        for stored, info in self._infos.items():
            form = torch.empty(info.shape, device="meta")
            for part in names.parts(stored):
                infos[part.name] = replace(info, shape=tuple(part.view(form).shape))
        return infos


def _check_readable(name: str, type: str) -> None:
    if type not in READABLE_TYPES:
        raise UnsupportedModelError(
            f"{name} is stored as {type}, which is not read.",
            hint=f"Read are matrices as {', '.join(sorted(READABLE_TYPES))}: fetch the model"
            " as one of them, such as Q4_K_M or Q8_0.",
        )


def _format_of(type: GgmlType) -> CodedFormat:
    return CodedFormat(type.name, 8 * type.block_bytes / type.block_size)


class GgufWeights:
    """Weights that are quantised, or multiplied as one with some that are, and the embedding."""

    def __init__(self, infos: dict[str, TensorInfo], dtype: torch.dtype) -> None:
        self._infos, self._dtype = infos, dtype
        self.formats = {name: _format_of(info.type) for name, info in infos.items()}
        counts: Counter[CodedFormat] = Counter()
        for name, info in infos.items():
            counts[self.formats[name]] += math.prod(info.shape)
        self.format = counts.most_common(1)[0][0]

    def owner(self, tensor_name: str) -> str | None:
        """The quantised weight to which a tensor belongs: each is one tensor."""
        return tensor_name if tensor_name in self._infos else None

    def is_ignorable(self, tensor_name: str) -> bool:
        return False

    def add(self, tensor_name: str, tensor: Tensor) -> HeldWeight | None:
        """The weight whose bytes, or numbers, these are."""
        info = self._infos[tensor_name]
        rows, columns = info.shape
        octets = tensor.view(torch.uint8).view(rows, -1)
        return BlockWeight(info.type, (rows, columns), octets, self._dtype)
