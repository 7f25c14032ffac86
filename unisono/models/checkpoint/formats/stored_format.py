"""The base of stored formats: quantised linear weights in a checkpoint.

Each format is a file of its own, such as ``gptq.py``, that a line in ``_METHODS`` names.
Knows no device and no model.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from unisono.core.errors import UnsupportedModelError
from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight
from unisono.models.checkpoint.formats.stated_quantization import stated_quantization
from unisono.models.checkpoint.formats.stored_checks import Shape, Shapes
from unisono.models.raw_config import RawConfig

_METHODS = {
    "awq": "unisono.models.checkpoint.formats.awq:Awq",
    "bitsandbytes": "unisono.models.checkpoint.formats.bitsandbytes:BitsAndBytes",
    "compressed-tensors": "unisono.models.checkpoint.formats.compressed_tensors:CompressedTensors",
    "fbgemm_fp8": "unisono.models.checkpoint.formats.float8:Float8",
    "fp8": "unisono.models.checkpoint.formats.float8:Float8",
    "gptq": "unisono.models.checkpoint.formats.gptq:Gptq",
    "modelopt": "unisono.models.checkpoint.formats.modelopt:ModelOpt",
    "mxfp4": "unisono.models.checkpoint.formats.mxfp4:Mxfp4",
}


class StoredFormat(ABC):
    """A stored format of quantised weights, by what a checkpoint's ``config.json`` states."""

    pieces: ClassVar[tuple[str, ...]]
    """Last parts of the names of the tensors that stand for a module's ``weight``. Where ``weight``
    is one of them, it is quantised if another one is there."""
    ignored: ClassVar[tuple[str, ...]] = ()
    """Last parts of names that carry nothing a weight needs, such as scales of activations."""
    may_add_biases: ClassVar[bool] = False
    """True where quantised layers may have a ``bias`` of zeros where the model has none."""

    @classmethod
    @abstractmethod
    def read(cls, config: RawConfig) -> StoredFormat:
        """From ``quantization_config``.

        Raises:
            CheckpointError: a field is missing or of the wrong kind.
            UnsupportedModelError: a kind of quantisation that is not read.
        """

    @abstractmethod
    def format_of(self, name: str, shape: Shape, pieces: Shapes) -> HeldFormat:
        """The held format of a weight of that shape, from the shapes of its tensors.

        Raises:
            CheckpointError: these are not the tensors of such a weight.
        """

    @abstractmethod
    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        """The values of a weight whose shapes ``format_of`` has seen.

        Raises:
            CheckpointError: values that no such weight has.
        """


def find_stored_format(raw: RawConfig) -> StoredFormat | None:
    """The stored format of the checkpoint's linear weights; None where they are not quantised.

    Raises:
        CheckpointError: ``quantization_config`` is wrong.
        UnsupportedModelError: in a way that is not read; the hint lists what is.
    """
    stated = stated_quantization(raw)
    return None if stated is None else read_stored_format(stated)


def read_stored_format(stated: RawConfig) -> StoredFormat:
    """The same from what is stated.

    Raises:
        CheckpointError, UnsupportedModelError: as ``find_stored_format``.
    """
    method = str(stated.get("quant_method", "unknown"))
    if method not in _METHODS:
        raise UnsupportedModelError(
            f"Checkpoints quantised by {method!r:.40} cannot be read.",
            hint=f"Read are: {', '.join(_METHODS)}. Or use the checkpoint in bfloat16, float16 or"
            " float32, with --weights int4 or int8.",
        )
    module, _, cls = _METHODS[method].partition(":")
    format: type[StoredFormat] = getattr(importlib.import_module(module), cls)
    return format.read(stated)
