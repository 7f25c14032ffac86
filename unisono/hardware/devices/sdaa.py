"""Tecorigin cards through torch_sdaa."""

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts


class SdaaHardware(Hardware):
    """Tecorigin."""

    facts = Facts(
        name="sdaa",
        device_type="sdaa",
        vendor="Tecorigin",
        import_module="torch_sdaa",
        distributed_backend="tccl",
        visible_devices_variable="SDAA_VISIBLE_DEVICES",
        detection_order=10,
        rests_on=("accelerate state.py (device string and collectives)",),
    )
