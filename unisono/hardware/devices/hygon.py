"""Hygon DCU cards (K100-AI, BW1000): a ROCm-like torch that answers to ``cuda``."""

from unisono.hardware.devices.cuda import CudaCompatible
from unisono.hardware.facts import Facts


class HygonHardware(CudaCompatible):
    """Hygon DCU, known from others by its own command."""

    facts = Facts(
        name="hygon",
        device_type="cuda",
        vendor="Hygon DCU",
        dtypes=("bfloat16", "float16", "float32"),
        distributed_backend="nccl",
        visible_devices_variable="HIP_VISIBLE_DEVICES",
        tool="hy-smi",
        detection_order=20,
        rests_on=(
            "FlagGems vendor descriptors",
            "FlagCX detection table (hy-smi; the library behind nccl is DUCCL)",
        ),
    )
