"""Sunrise cards; the plugin loads itself with torch."""

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts


class PtpuHardware(Hardware):
    """Sunrise."""

    facts = Facts(
        name="ptpu",
        device_type="ptpu",
        vendor="Sunrise",
        distributed_backend="pccl",
        visible_devices_variable="TANG_VISIBLE_DEVICES",
        tool="pt-smi",
        detection_order=10,
        rests_on=(
            "FlagGems vendor descriptors",
            "FlagCX (the collective library is PCCL)",
        ),
    )
