"""Any CPU that torch runs on.

``linear`` keeps bfloat16 weights in oneDNN's own layout: laid out again on every call, as
``F.linear`` does for a few rows, a weight is read more than once. Attention and the choice of
tokens have files of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisono.core.weight_format import WeightFormat
from unisono.hardware.base import HostHardware
from unisono.hardware.devices.cpu_attention import TiledAttentionOps
from unisono.hardware.facts import Facts
from unisono.hardware.findings import Finding
from unisono.hardware.ops.nucleus import NucleusOps
from unisono.hardware.runtime import MemoryInfo
from unisono.hardware.threads import choose_threads

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """A bfloat16 weight in oneDNN's layout; it can only be multiplied with."""

    data: Tensor
    shape: tuple[int, int]

    @property
    def num_bytes(self) -> int:
        return self.data.nbytes if self.data.layout == torch.strided else 2 * math.prod(self.shape)


class CpuOps(TiledAttentionOps, NucleusOps):
    """Plain torch, arranged for a CPU."""

    stacks_experts = False

    def prepare_linear(self, weight: Tensor, format: WeightFormat | None = None) -> Any:
        if format is not None or weight.dtype != torch.bfloat16 or not _can_pack():
            return super().prepare_linear(weight, format)
        with torch.no_grad():
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        return PackedWeight(packed, (weight.shape[0], weight.shape[1]))

    def linear(self, x: Tensor, weight: Any, bias: Tensor | None = None) -> Tensor:
        if isinstance(weight, PackedWeight):
            return torch.ops.mkldnn._linear_pointwise(x, weight.data, bias, "none", [], "")
        return super().linear(x, weight, bias)

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().rope(x, cos, sin)
        half = cos.shape[-1]
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        x32 = x.float()
        first, second = x32[..., :half], x32[..., half : 2 * half]
        out = torch.empty_like(x32)
        torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-1)
        torch.mul(second, cos, out=out[..., half : 2 * half]).addcmul_(first, sin)
        if x.shape[-1] > 2 * half:
            out[..., 2 * half :] = x32[..., 2 * half :]
        return out.to(x.dtype)


def _can_pack() -> bool:
    return torch._C._has_mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class CpuHardware(HostHardware):
    """The host's processor."""

    facts = Facts(
        name="cpu",
        device_type="cpu",
        vendor="any",
        dtypes=("bfloat16", "float32", "float16"),
        kv_block_size=32,
        distributed_backend="gloo",
        features=frozenset({"fp8"}),
        detection_order=1000,
    )
    ops_class = CpuOps

    def settle(self) -> None:
        _keep_freed_memory()

    @classmethod
    def describe(cls, index: int) -> str:
        count = choose_threads()
        return f"{_processor_name()}, {count} thread{'s' * (count != 1)}, {cls.kernels()}"

    @classmethod
    def kernels(cls) -> str:
        """The kernels in use, and the instruction sets they found."""
        return f"plain torch ({torch.backends.cpu.get_cpu_capability()})"

    @classmethod
    def diagnose(cls) -> tuple[Finding, ...]:
        return (
            Finding(
                "note",
                cls.facts.name,
                "runs on plain torch; unisono-cpu, which has faster native kernels, is not in use",
                "pip install ./plugins/cpu from unisono's sources, or a wheel: docs/installing.md.",
            ),
        )

    def memory(self) -> MemoryInfo:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        available = _available_bytes()
        return MemoryInfo(free=total if available is None else available, total=total)


def _keep_freed_memory() -> None:
    """Let glibc reuse what a step frees: given back to the system, every page of the next step's
    activations is mapped and zeroed anew. Concerns the whole process; elsewhere does nothing."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 64 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 512 * 2**20)


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _available_bytes() -> int | None:
    """Bytes that Linux could hand out without swapping, page cache included; elsewhere unknown."""
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
