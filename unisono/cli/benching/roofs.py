"""The best that a device can do, measured with plain operations: read memory, multiply matrices."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from unisono.hardware.base import Hardware

__all__ = ["matmul_flops_per_s", "memory_read_bytes_per_s"]

_READ_BYTES = 512 << 20
_READS = 7
_LONG_ENOUGH_S = 0.02
_LARGEST_MATRIX = 8192


def memory_read_bytes_per_s(hardware: Hardware) -> dict[str, float]:
    """Best and median rate of reading a tensor far larger than any cache."""
    size = min(_READ_BYTES, hardware.memory().free // 4)
    data = torch.ones(size // 8, dtype=torch.int64, device=hardware.device)
    times = [_seconds(hardware, read) for read in (data.sum, data.amax) for _ in range(_READS)]
    return {"best": size / min(times), "median": size / median(times)}


def matmul_flops_per_s(hardware: Hardware, dtype: str) -> float:
    """Best rate of a square matrix product, of a size that takes long enough to time."""
    side, best = 512, 0.0
    while True:
        left = torch.randn(side, side, device=hardware.device).to(getattr(torch, dtype))
        right = torch.randn(side, side, device=hardware.device).to(getattr(torch, dtype))

        def multiply(left: torch.Tensor = left, right: torch.Tensor = right) -> torch.Tensor:
            return torch.nn.functional.linear(left, right)

        multiply()
        seconds = min(_seconds(hardware, multiply) for _ in range(5))
        best = max(best, 2 * side**3 / seconds)
        if seconds > _LONG_ENOUGH_S or side >= _LARGEST_MATRIX:
            return best
        side *= 2


def _seconds(hardware: Hardware, work: Callable[[], object]) -> float:
    hardware.synchronize()
    began = time.perf_counter()
    work()
    hardware.synchronize()
    return time.perf_counter() - began
