"""T-Head PPU: a vendor build of torch that answers to ``cuda``."""

from unisono.hardware.devices.cuda import CudaCompatible
from unisono.hardware.facts import Facts


class TheadHardware(CudaCompatible):
    """T-Head PPU, known from others by its own command."""

    facts = Facts(
        name="thead",
        device_type="cuda",
        vendor="T-Head PPU",
        dtypes=("float16", "float32"),
        distributed_backend="nccl",
        visible_devices_variable="CUDA_VISIBLE_DEVICES",
        tool="ppu-smi",
        detection_order=20,
        rests_on=(
            "FlagGems vendor descriptors",
            "FlagRelease detection table (ppu-smi)",
        ),
    )
