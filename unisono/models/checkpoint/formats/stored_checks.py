"""Checks of the tensors of a quantised weight that all stored formats share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError
from unisono.models.raw_config import RawConfig

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""Shapes of the tensors of a weight, by the last part of their names."""
FLOATS = (torch.bfloat16, torch.float16, torch.float32)
INTEGERS = (torch.int32, torch.int64)
_MAX_BLOCK = 2**18


def block_size(config: RawConfig, name: str) -> tuple[int, int] | None:
    """Rows and columns of the blocks that share a scale; None where the field is missing.

    Raises:
        CheckpointError: the field is not two positive integers.
    """
    sizes = config.list_of(name, int)
    if not sizes:
        return None
    if len(sizes) != 2 or not all(0 < size <= _MAX_BLOCK for size in sizes):
        raise CheckpointError(
            f"{config.source}: {name} must be two numbers from 1 to {_MAX_BLOCK}, is {sizes!r:.80}."
        )
    return sizes[0], sizes[1]


def group_size(config: RawConfig, *names: str) -> int | None:
    """Number of inputs that share a scale, from the first of the fields that is there; None, stored
    as -1: all inputs do.

    Raises:
        CheckpointError: the field is not a positive integer.
    """
    name = next((name for name in names if config.get(name) is not None), names[0])
    if config.get(name) == -1:
        return None
    return config.integer(name, most=_MAX_BLOCK)


def misfit(name: str, shape: Shape, pieces: Shapes) -> CheckpointError:
    """The error of a weight [N, K] whose tensors have shapes that do not fit it."""
    found = ", ".join(f"{piece} {list(pieces[piece])}" for piece in sorted(pieces))
    return CheckpointError(
        f"{name} {list(shape)} is stored as {found}, which config.json does not state.",
        hint="The files may be of different models, or incomplete.",
    )


def check_dtype(name: str, piece: str, tensor: Tensor, allowed: tuple[torch.dtype, ...]) -> None:
    """Raises CheckpointError: the tensor has none of the ``allowed`` dtypes."""
    if tensor.dtype not in allowed:
        raise CheckpointError(
            f"{name}: {piece} is stored as {str(tensor.dtype).removeprefix('torch.')}.",
            hint="The files may be of different models, or of a format that is not read.",
        )


def check_finite(name: str, scales: Tensor) -> None:
    """Raises CheckpointError: a scale is NaN or infinite."""
    if not bool(scales.isfinite().all()):
        raise CheckpointError(
            f"{name} has scales that are no numbers.", hint="The file is damaged: fetch it again."
        )
