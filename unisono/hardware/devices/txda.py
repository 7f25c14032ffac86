"""TsingMicro cards; the plugin loads itself with torch."""

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts


class TxdaHardware(Hardware):
    """TsingMicro."""

    facts = Facts(
        name="txda",
        device_type="txda",
        vendor="TsingMicro",
        distributed_backend="tccl",
        visible_devices_variable="TXDA_VISIBLE_DEVICES",
        tool="tsm_smi",
        detection_order=10,
        rests_on=(
            "FlagGems vendor descriptors",
            "FlagCX (the collective library is TCCL)",
        ),
    )
