"""torchvulkan: any GPU with a Vulkan 1.3 driver, also Mesa's that computes on the processor."""

from unisono.hardware import Facts, Hardware


class VulkanHardware(Hardware):
    facts = Facts(
        name="vulkan",
        device_type="vulkan",
        vendor="any, through Vulkan",
        import_module="torchvulkan",
        dtypes=("float32",),  # functions of float16 are computed in 16 bits: the check says so
        math_api="vulkan",
        rests_on=("torchvulkan 0.2.1 on PyPI",),
    )
