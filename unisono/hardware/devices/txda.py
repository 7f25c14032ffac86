"""TsingMicro cards; the plugin loads itself with torch."""

from __future__ import annotations

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts

__all__ = ["TxdaHardware"]


class TxdaHardware(Hardware):
    """TsingMicro."""

    facts = Facts(
        name="txda",
        device_type="txda",
        vendor="TsingMicro",
        import_module=None,
        dtypes=("float32",),
        distributed_backend="tccl",
        visible_devices_variable="TXDA_VISIBLE_DEVICES",
        ray_resource=None,
        tool="tsm_smi",
        features=frozenset(),
        detection_order=10,
        rests_on=(
            "FlagGems vendor descriptors",
            "FlagCX (the collective library is TCCL)",
        ),
    )
