"""Vastai cards through torch_vacc; its collectives are not documented, so they go by the host."""

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts


class VaccHardware(Hardware):
    """Vastai."""

    facts = Facts(
        name="vacc",
        device_type="vacc",
        vendor="Vastai",
        import_module="torch_vacc",
        visible_devices_variable="VACC_VISIBLE_DEVICES",
        detection_order=10,
        rests_on=("Xinference device_utils.py",),
    )
