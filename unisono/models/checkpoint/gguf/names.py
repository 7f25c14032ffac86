"""Tensors of a GGUF file under the names that a checkpoint's have, with rows in their order."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError
from unisono.gguf.header import TensorInfo
from unisono.models.checkpoint.gguf.config import EMBEDDING, HEAD
from unisono.models.checkpoint.gguf.families import GgufFamily

_MAX_EXPERTS = 1 << 13
_ONE_ROW = "shared_expert_gate.weight"

_WHOLE = {
    EMBEDDING: "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output_norm.bias": "model.norm.bias",
    HEAD: "lm_head.weight",
    "output.bias": "lm_head.bias",
}
_OF_LAYER = re.compile(r"blk\.(\d{1,5})\.(\w+)\.(weight|bias)", re.ASCII)


def checkpoint_name(name: str, family: GgufFamily) -> str:
    """Name of a tensor in transformers' checkpoints; an unknown name stays as it is."""
    if name in _WHOLE:
        return _WHOLE[name]
    match = _OF_LAYER.fullmatch(name)
    if match is None:
        return name
    layer, part, kind = f"model.layers.{int(match[1])}", match[2], match[3]
    if f"{part}.{kind}" in family.layer_parts:
        return f"{layer}.{family.layer_parts[f'{part}.{kind}']}"
    return f"{layer}.{family.layer_parts[part]}.{kind}" if part in family.layer_parts else name


def by_expert(name: str, info: TensorInfo) -> dict[str, TensorInfo]:
    """The tensor of each expert, where a name has a star for its number; and the one row of a
    matrix of one row, which a file may hold as a vector, as a matrix.

    Raises:
        CheckpointError: it has no dimension of experts.
    """
    if name.endswith(_ONE_ROW) and len(info.shape) == 1:
        return {name: replace(info, shape=(1, *info.shape))}
    if "*" not in name:
        return {name: info}
    count, *shape = info.shape
    if not shape or count > _MAX_EXPERTS:
        raise CheckpointError(f"{name} has shape {list(info.shape)}, its first is of experts.")
    size = info.num_bytes // count
    return {
        name.replace("*", str(expert)): replace(
            info, shape=tuple(shape), start=info.start + expert * size
        )
        for expert in range(count)
    }


def head_order(num_rows: int, num_heads: int) -> Tensor:
    """Index of each row in a file that keeps rotation pairs side by side; ours are in halves."""
    pairs = torch.arange(num_rows).view(num_heads, -1, 2)
    return pairs.transpose(1, 2).flatten()
