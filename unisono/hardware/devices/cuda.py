"""NVIDIA cards, and AMD cards through torch's HIP build, which answers to the same names."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import ClassVar

import torch

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts
from unisono.hardware.findings import Finding


class CudaCompatible(Hardware):
    """A vendor whose torch build answers to ``cuda``: the vendor's own command tells whose."""

    wants_hip: ClassVar[bool | None] = None
    """True where torch must be a HIP build; None takes either."""

    @classmethod
    def missing(cls) -> str | None:
        if not torch.cuda.is_available():
            return "torch finds no cuda device"
        if cls.wants_hip is not None and cls.wants_hip != (torch.version.hip is not None):
            return f"torch is {'no' if cls.wants_hip else 'a'} HIP build"
        if torch.empty(0, device="cuda").device.type != "cuda":
            return "another device answers for torch.cuda"
        if cls.facts.tool is not None and shutil.which(cls.facts.tool) is None:
            return f"{cls.facts.tool} is not on the PATH"
        return super().missing()


class CudaHardware(CudaCompatible):
    """NVIDIA."""

    facts = Facts(
        name="cuda",
        device_type="cuda",
        vendor="NVIDIA",
        dtypes=("bfloat16", "float16", "float32"),
        distributed_backend="nccl",
        visible_devices_variable="CUDA_VISIBLE_DEVICES",
        device_nodes="/dev/nvidia[0-9]*",
        features=frozenset({"pinned_memory", "async_copy", "triton"}),
        detection_order=40,
        rests_on=("PyTorch documentation: torch.cuda", "Ray accelerator managers"),
    )
    wants_hip = False

    @classmethod
    def diagnose(cls) -> tuple[Finding, ...]:
        return _driver_without_build(cls, "nvidia-smi", "CUDA", torch.version.cuda)


class RocmHardware(CudaCompatible):
    """AMD, through torch's HIP build."""

    facts = replace(
        CudaHardware.facts,
        name="rocm",
        vendor="AMD",
        visible_devices_variable="HIP_VISIBLE_DEVICES",
        device_nodes="/dev/kfd",
        detection_order=39,
        rests_on=("PyTorch documentation: HIP (ROCm) semantics", "Ray accelerator managers"),
    )
    wants_hip = True

    @classmethod
    def diagnose(cls) -> tuple[Finding, ...]:
        return _driver_without_build(cls, "rocm-smi", "HIP", torch.version.hip)


def _driver_without_build(
    cls: type[Hardware], tool: str, build: str, version: str | None
) -> tuple[Finding, ...]:
    if shutil.which(tool) is None or version is not None:
        return ()
    what = f"a driver is here ({tool}), and this torch was built without {build}"
    return (Finding("problem", cls.facts.name, what, f"Install a build of torch with {build}."),)
