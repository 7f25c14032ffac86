"""Intel GPUs through torch's own xpu build."""

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts


class XpuHardware(Hardware):
    """Intel GPU."""

    facts = Facts(
        name="xpu",
        device_type="xpu",
        vendor="Intel",
        dtypes=("bfloat16", "float16", "float32"),
        distributed_backend="xccl",
        features=frozenset({"pinned_memory", "async_copy"}),
        detection_order=42,
        rests_on=(
            "PyTorch documentation: torch.xpu",
            "accelerate state.py (collectives)",
            "Ray accelerator managers",
        ),
    )
