"""MetaX cards (C500, C550): a vendor build of torch that answers to ``cuda``."""

from unisono.hardware.devices.cuda import CudaCompatible
from unisono.hardware.facts import Facts


class MetaxHardware(CudaCompatible):
    """MetaX, known from others by its own command."""

    facts = Facts(
        name="metax",
        device_type="cuda",
        vendor="MetaX",
        dtypes=("bfloat16", "float16", "float32"),
        distributed_backend="nccl",
        visible_devices_variable="CUDA_VISIBLE_DEVICES",
        tool="mx-smi",
        detection_order=20,
        rests_on=(
            "vLLM-metax platform file (device type and visible devices)",
            "FlagCX detection table (mx-smi before nvidia-smi)",
            "ai.gitee.com domestic GPU page (C500 numerics)",
        ),
    )
