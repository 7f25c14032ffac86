"""Huawei Ascend through torch_npu."""

from __future__ import annotations

import itertools
import os

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts
from unisono.hardware.findings import Finding

_VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"


class NpuHardware(Hardware):
    """Huawei Ascend. Older torch_npu lacks parts of ``torch.accelerator``; ``runtime`` then asks
    ``torch.npu``."""

    facts = Facts(
        name="npu",
        device_type="npu",
        vendor="Huawei Ascend",
        import_module="torch_npu",
        dtypes=("bfloat16", "float16", "float32"),
        distributed_backend="hccl",
        visible_devices_variable=_VISIBLE,
        tool="npu-smi",
        features=frozenset({"pinned_memory", "async_copy"}),
        detection_order=10,
        rests_on=(
            "accelerate state.py (device string and collectives)",
            "vllm-ascend #14188 (which parts of torch.accelerator old builds lack)",
            "hiascend.com CANN documents (visible devices)",
            "Ray accelerator managers",
        ),
    )

    @classmethod
    def diagnose(cls) -> tuple[Finding, ...]:
        value = os.environ.get(_VISIBLE)
        if value is None or _is_ascending_list(value):
            return ()
        return (
            Finding(
                "problem",
                cls.facts.name,
                f"{_VISIBLE}={value!r}: the driver silently cuts such a list short",
                "Write ids in ascending order with commas alone, such as 0,1,3.",
            ),
        )


def _is_ascending_list(value: str) -> bool:
    ids = value.split(",")
    if not all(i.isascii() and i.isdecimal() for i in ids):
        return False
    numbers = [int(i) for i in ids]
    return all(a < b for a, b in itertools.pairwise(numbers))
