"""A CPU in plain torch whose quantised weights have a form for the disk."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from unisono.core import WeightFormat
from unisono.core.errors import CheckpointError
from unisono.hardware import PackedForm
from unisono.hardware.devices.cpu import CpuHardware, CpuOps
from unisono.hardware.weights.level_weight import LevelWeight

_DIGEST_BYTES = 32


class PlainForm(PackedForm):
    """A digest, then levels, scales and zeros as they are."""

    layout = "plain 1"

    def to_bytes(self, prepared: LevelWeight) -> Tensor:
        parts = [prepared.levels, prepared.scales, prepared.zeros]
        data = b"".join(part.numpy().tobytes() for part in parts if part is not None)
        content = str((prepared.shape, prepared.format)).encode() + data
        return torch.frombuffer(
            bytearray(hashlib.sha256(content).digest() + data), dtype=torch.uint8
        )

    def from_bytes(self, data: Tensor, shape: tuple[int, int], format: WeightFormat) -> LevelWeight:
        rows, cols = shape
        groups = -(-cols // format.group_size)
        sizes = [rows * cols, 4 * rows * groups, 0 if format.symmetric else rows * groups]
        content = data[_DIGEST_BYTES : _DIGEST_BYTES + sum(sizes)]
        digest = hashlib.sha256(str((shape, format)).encode() + content.numpy().tobytes()).digest()
        if digest != data[:_DIGEST_BYTES].numpy().tobytes():
            raise CheckpointError("The digest of a weight does not match.")
        levels, scales, zeros = torch.split(content, sizes)
        return LevelWeight(
            format,
            shape,
            levels.view(shape),
            torch.frombuffer(bytearray(scales.numpy()), dtype=torch.float32).view(rows, groups),
            None if format.symmetric else zeros.view(rows, groups),
        )


class PackingOps(CpuOps):
    """Counts what it quantises."""

    packed_form = PlainForm()

    def __init__(self) -> None:
        self.num_quantized = 0

    def prepare_linear(self, weight: Tensor, format: WeightFormat | None = None) -> Any:
        self.num_quantized += format is not None
        return super().prepare_linear(weight, format)


class PackingHardware(CpuHardware):
    """The host's processor."""

    ops: PackingOps
    ops_class = PackingOps
