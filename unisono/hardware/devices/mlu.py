"""Cambricon cards (MLU370, MLU590) through torch_mlu."""

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts


class MluHardware(Hardware):
    """Cambricon."""

    facts = Facts(
        name="mlu",
        device_type="mlu",
        vendor="Cambricon",
        import_module="torch_mlu",
        dtypes=("bfloat16", "float16", "float32"),
        distributed_backend="cncl",
        visible_devices_variable="MLU_VISIBLE_DEVICES",
        tool="cnmon",
        detection_order=10,
        rests_on=(
            "accelerate state.py (device string and collectives)",
            "FlagGems vendor descriptors",
        ),
    )
