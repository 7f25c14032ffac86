"""Apple's GPUs through torch's mps."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts
from unisono.hardware.runtime import MemoryInfo, MemoryUse


class MpsHardware(Hardware):
    """Apple GPU: one, with the host's memory, and calls that take no index."""

    facts = Facts(
        name="mps",
        device_type="mps",
        vendor="Apple",
        dtypes=("bfloat16", "float16", "float32"),
        detection_order=44,
        rests_on=("PyTorch documentation: torch.mps",),
    )

    def memory(self) -> MemoryInfo:
        total = torch.mps.recommended_max_memory()
        return MemoryInfo(max(0, total - torch.mps.driver_allocated_memory()), total)

    def memory_use(self) -> MemoryUse:
        allocated, reserved = (
            torch.mps.current_allocated_memory(),
            torch.mps.driver_allocated_memory(),
        )
        return MemoryUse(allocated, reserved, None)

    def synchronize(self) -> None:
        torch.mps.synchronize()

    def activate(self) -> AbstractContextManager[None]:
        return nullcontext()
