"""Enflame cards (S60) through torch_gcu."""

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts


class GcuHardware(Hardware):
    """Enflame."""

    facts = Facts(
        name="gcu",
        device_type="gcu",
        vendor="Enflame",
        import_module="torch_gcu",
        dtypes=("bfloat16", "float16", "float32"),
        distributed_backend="eccl",
        visible_devices_variable="TOPS_VISIBLE_DEVICES",
        tool="efsmi",
        detection_order=10,
        rests_on=(
            "FlagGems vendor descriptors",
            "FlagCX (the collective library is ECCL)",
            "ai.gitee.com Enflame page (S60 numerics)",
        ),
    )
