"""An adapter's tensors: every name and shape is checked against the model before any is read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unisono.core.errors import AdapterError, CheckpointError
from unisono.models.adapters.adapter_config import AdapterConfig
from unisono.models.adapters.places import Place, Places
from unisono.models.checkpoint.names import StoredPart
from unisono.models.checkpoint.refusals import NUMBERS
from unisono.models.checkpoint.safetensors_files import open_tensors

WEIGHTS_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_NAME = re.compile(r"(.+)\.lora_(A|B)\.weight")
_EXPERT = re.compile(r"\.experts\.\d+\.")


class LowRank(NamedTuple):
    """Two matrices that add x down^T up^T to a part."""

    down: Tensor
    """[r, K]."""
    up: Tensor
    """[N, r], the adapter's scale in it."""


Adapter = Mapping[str, Mapping[str, LowRank]]
"""By the layer's name in the model and the part of it."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A module's two matrices, by their names in the file, unread."""

    module: str
    down: str
    up: str
    rank: int
    scale: float
    places: list[tuple[StoredPart, Place]]


def read_adapter(folder: Path, places: Places, dtype: torch.dtype, *, max_rank: int) -> Adapter:
    """Read an adapter for a model with these ``places``, its numbers as ``dtype``.

    Raises:
        AdapterError: it is not understood, or does not fit the model.
    """
    config = AdapterConfig.read(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        pickled = (folder / "adapter_model.bin").exists()
        raise AdapterError(
            f"{folder} has no {WEIGHTS_FILE}.",
            hint="Only safetensors are read: pickled weights (*.bin) can run code. Save it again"
            " with peft." * pickled,
        )
    try:
        with open_tensors(path) as tensors, torch.no_grad():
            pairs = _find_pairs(tensors, config, places, max_rank)
            return _read_pairs(tensors, pairs, dtype)
    except CheckpointError as error:
        raise AdapterError(error.message, hint=error.hint) from error


def _find_pairs(tensors: Any, config: AdapterConfig, places: Places, max_rank: int) -> list[_Pair]:
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for name in tensors.keys():  # noqa: SIM118 - a safetensors handle, not a dict
        match = _NAME.fullmatch(name.removeprefix(_PREFIX))
        if match is None or not name.startswith(_PREFIX):
            raise AdapterError(f"{WEIGHTS_FILE} has a tensor that is not understood: {name:.200}.")
        sides[match[1]][match[2]] = name
    if not sides:
        raise AdapterError(f"{WEIGHTS_FILE} holds no tensors.")
    _check_all_there(sides, config, places)
    return [_pair(tensors, module, sides[module], config, places, max_rank) for module in sides]


def _check_all_there(
    sides: Mapping[str, Mapping[str, str]], config: AdapterConfig, places: Places
) -> None:
    """Raises AdapterError: the file lacks a module that the configuration names. Experts may be one
    parameter in transformers, which no name of a module reaches."""
    if config.targets.named is None:
        return
    found = {part.name for module in sides for part, _ in places.of(module)}
    for name, place in places:
        router_or_expert = _EXPERT.search(name) or not place.linear.quantizable
        if name in config.targets and f"{name}.weight" not in found and not router_or_expert:
            raise AdapterError(
                f"{WEIGHTS_FILE} lacks {name}, which adapter_config.json names.",
                hint="Fetch the adapter again." + _made_for(config),
            )


def _pair(
    tensors: Any,
    module: str,
    sides: Mapping[str, str],
    config: AdapterConfig,
    places: Places,
    max_rank: int,
) -> _Pair:
    for side in "AB":
        if side not in sides:
            raise AdapterError(f"{WEIGHTS_FILE} lacks lora_{side} of {module}.")
    if module not in config.targets:
        raise AdapterError(f"adapter_config.json does not name {module}, which the file has.")
    found = places.of(module)
    if not found:
        raise AdapterError(
            f"The model has no linear layer {module}.", hint=_made_for(config).strip()
        )
    for _, place in found:
        if not place.linear.takes_adapters:
            raise AdapterError(f"An adapter of {module} is not supported.")
    rank = config.rank_of(module)
    if rank > max_rank:
        raise AdapterError(
            f"{module} has rank {rank}, above the {max_rank} that is allowed.",
            hint="Raise --max-adapter-rank (max_adapter_rank).",
        )
    num_rows, num_columns = sum(place.shape[0] for _, place in found), found[0][1].shape[1]
    _check_shape(tensors, sides["A"], (rank, num_columns), config)
    _check_shape(tensors, sides["B"], (num_rows, rank), config)
    return _Pair(module, sides["A"], sides["B"], rank, config.scale_of(module), found)


def _check_shape(tensors: Any, name: str, expected: tuple[int, int], config: AdapterConfig) -> None:
    tensor = tensors.get_slice(name)
    shape, dtype = tuple(tensor.get_shape()), tensor.get_dtype()
    if shape != expected:
        raise AdapterError(
            f"{name} has shape {list(shape)}, the model and adapter_config.json say"
            f" {list(expected)}.",
            hint=_made_for(config).strip(),
        )
    if dtype not in NUMBERS:
        raise AdapterError(
            f"{name} is stored as {dtype}.", hint="Save it in float32, bfloat16 or float16."
        )


def _read_pairs(tensors: Any, pairs: list[_Pair], dtype: torch.dtype) -> Adapter:
    adapter: dict[str, dict[str, LowRank]] = defaultdict(dict)
    for pair in pairs:
        down, up = tensors.get_tensor(pair.down).float(), tensors.get_tensor(pair.up).float()
        up = up * pair.scale
        for name, tensor in ((pair.down, down), (pair.up, up)):
            if not torch.isfinite(tensor.to(dtype)).all():
                raise AdapterError(f"{name} holds numbers that are not finite as {dtype}.")
        for part, place in pair.places:
            own = torch.float32 if "weight" in place.linear.float32_parameters else dtype
            cut = place.cut
            down_here = cut.of(down) if cut is not None and cut.dim == 1 else down
            up_here = part.view(up)
            up_here = cut.of(up_here) if cut is not None and cut.dim == 0 else up_here
            adapter[place.path][place.part] = LowRank(down_here.to(own), up_here.to(own))
    return adapter


def _made_for(config: AdapterConfig) -> str:
    return f" It was made for {config.base}." if config.base else ""
