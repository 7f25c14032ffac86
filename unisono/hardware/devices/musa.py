"""Moore Threads cards (S4000, S5000) through torch_musa."""

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts


class MusaHardware(Hardware):
    """Moore Threads."""

    facts = Facts(
        name="musa",
        device_type="musa",
        vendor="Moore Threads",
        import_module="torch_musa",
        dtypes=("bfloat16", "float16", "float32"),
        distributed_backend="mccl",
        visible_devices_variable="MUSA_VISIBLE_DEVICES",
        tool="mthreads-gmi",
        detection_order=10,
        rests_on=(
            "accelerate state.py (device string and collectives)",
            "torch_musa repository (torch.accelerator memory since 2.11.0.post2)",
            "FlagGems vendor descriptors",
        ),
    )
