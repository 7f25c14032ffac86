"""Devices: the contract, the reference ops, and one file for each kind of hardware.

What needs torch is loaded when it is asked for: published figures (``specs``) and the first
questions of the doctor need none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unisono.hardware.base import DeviceReport, Hardware, HostHardware, import_plugin
    from unisono.hardware.discovery import (
        HardwareReport,
        discover,
        find_hardware,
        load_hardware,
    )
    from unisono.hardware.facts import Facts
    from unisono.hardware.findings import Finding
    from unisono.hardware.ops.attention import AttentionSize, AttentionStep
    from unisono.hardware.ops.portable import OP_TABLE_VERSION, PortableOps
    from unisono.hardware.ops.quantized_kv import LayerKV, QuantizedKV
    from unisono.hardware.runtime import MemoryInfo, MemoryUse
    from unisono.hardware.weights.packed_form import PackedForm

__all__ = [
    "AttentionSize",
    "AttentionStep",
    "DeviceReport",
    "Facts",
    "Finding",
    "Hardware",
    "HardwareReport",
    "HostHardware",
    "LayerKV",
    "MemoryInfo",
    "MemoryUse",
    "OP_TABLE_VERSION",
    "PackedForm",
    "PortableOps",
    "QuantizedKV",
    "discover",
    "find_hardware",
    "import_plugin",
    "load_hardware",
]

_FILES = {
    "ops.attention": ("AttentionSize", "AttentionStep"),
    "base": ("DeviceReport", "Hardware", "HostHardware", "import_plugin"),
    "discovery": ("HardwareReport", "discover", "find_hardware", "load_hardware"),
    "facts": ("Facts",),
    "findings": ("Finding",),
    "weights.packed_form": ("PackedForm",),
    "ops.portable": ("OP_TABLE_VERSION", "PortableOps"),
    "ops.quantized_kv": ("LayerKV", "QuantizedKV"),
    "runtime": ("MemoryInfo", "MemoryUse"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
