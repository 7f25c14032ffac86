"""Reads how a checkpoint's weights are quantised, wherever it is stated.

Knows no format.
"""

from __future__ import annotations

from pathlib import Path

from unisono.core.errors import UnsupportedModelError
from unisono.core.folder_files import read_json_object
from unisono.models.raw_config import RawConfig

_MAX_BYTES = 16 << 20
_FIELDS = {"quantization_config": None, "compression_config": "compressed-tensors"}
"""Fields of ``config.json``; the second is the older name, used by one method."""
QUANTIZATION_FILES = {
    "hf_quant_config.json": "modelopt",
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
}
"""Files that tools wrote before ``config.json`` had a place for it, or still write, by tool."""


def stated_quantization(raw: RawConfig) -> RawConfig | None:
    """The quantisation that ``config.json`` states, or None.

    Raises:
        CheckpointError: it is no object.
        UnsupportedModelError: weights of MLX, which have a field of their own.
    """
    for field, method in _FIELDS.items():
        values = raw.mapping(field) or raw.text().mapping(field)
        if values:
            default = {} if method is None else {"quant_method": method}
            return RawConfig({**default, **values}, f"{raw.source}: {field}")
    if "bits" in raw.mapping("quantization"):
        raise UnsupportedModelError(
            "The weights are quantised by MLX, which is not read.",
            hint="Use the checkpoint it was made from, with --weights int4 or int8.",
        )
    return None


def quantization_beside(folder: Path) -> RawConfig | None:
    """The quantisation that a file beside ``config.json`` states, or None.

    Raises:
        CheckpointError: the file is damaged, or not in its form.
    """
    for name, method in QUANTIZATION_FILES.items():
        own = RawConfig(read_json_object(folder / name, _MAX_BYTES), name)
        values = own.mapping("quantization") or own.values
        if values:
            return RawConfig({"quant_method": method, **values}, name)
    return None
