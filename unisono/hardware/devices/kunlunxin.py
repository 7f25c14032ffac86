"""Kunlunxin cards (P800): a vendor build of torch that answers to ``cuda``."""

from unisono.hardware.devices.cuda import CudaCompatible
from unisono.hardware.facts import Facts


class KunlunxinHardware(CudaCompatible):
    """Kunlunxin, known from others by its own command."""

    facts = Facts(
        name="kunlunxin",
        device_type="cuda",
        vendor="Kunlunxin",
        dtypes=("float16", "float32"),
        distributed_backend="nccl",
        visible_devices_variable="CUDA_VISIBLE_DEVICES",
        tool="xpu-smi",
        detection_order=20,
        rests_on=(
            "vLLM-Kunlun platform file",
            "FlagCX detection table (xpu-smi; the library behind nccl is BKCL)",
        ),
    )
