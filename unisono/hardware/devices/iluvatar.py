"""Iluvatar cards (BI-V150): a vendor build of torch that answers to ``cuda``."""

from unisono.hardware.devices.cuda import CudaCompatible
from unisono.hardware.facts import Facts


class IluvatarHardware(CudaCompatible):
    """Iluvatar, known from others by its own command."""

    facts = Facts(
        name="iluvatar",
        device_type="cuda",
        vendor="Iluvatar",
        dtypes=("bfloat16", "float16", "float32"),
        distributed_backend="nccl",
        visible_devices_variable="CUDA_VISIBLE_DEVICES",
        tool="ixsmi",
        detection_order=20,
        rests_on=(
            "FlagGems vendor descriptors",
            "FlagCX detection table (ixsmi; the library behind nccl is IXCCL)",
            "FlagPerf (BI-V150 BF16 measured)",
        ),
    )
