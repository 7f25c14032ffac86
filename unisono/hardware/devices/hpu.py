"""Intel Gaudi through the habana build of torch."""

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts


class HpuHardware(Hardware):
    """Intel Gaudi."""

    facts = Facts(
        name="hpu",
        device_type="hpu",
        vendor="Intel Gaudi",
        import_module="habana_frameworks.torch.core",
        dtypes=("bfloat16", "float32"),
        distributed_backend="hccl",
        visible_devices_variable="HABANA_VISIBLE_MODULES",
        tool="hl-smi",
        detection_order=10,
        rests_on=(
            "accelerate state.py (device string and collectives)",
            "Ray accelerator managers (HPU, HABANA_VISIBLE_MODULES)",
            "Intel Gaudi documentation: PyTorch (import of habana_frameworks.torch.core)",
        ),
    )
