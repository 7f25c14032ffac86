"""Devices: the contract, the reference ops, and one file for each kind of hardware.

All that the file of a new device needs comes from here. What needs torch is loaded when it is asked
for: published figures (``specs``) and the first questions of the doctor need none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unisono.hardware.base import DeviceReport, Hardware, HostHardware, import_plugin
    from unisono.hardware.devices.cpu import CpuHardware, CpuOps
    from unisono.hardware.discovery import HardwareReport, discover, find_hardware, load_hardware
    from unisono.hardware.facts import Facts
    from unisono.hardware.findings import Finding
    from unisono.hardware.ops.attention import AttentionSize, AttentionStep
    from unisono.hardware.ops.experts import Expert, Routing, StackedExperts
    from unisono.hardware.ops.latent_attention import LatentAttentionSize
    from unisono.hardware.ops.portable import OP_TABLE_VERSION, PortableOps
    from unisono.hardware.ops.quantized_kv import LayerKV, QuantizedKV
    from unisono.hardware.ops.standard import (
        LowRankPart,
        Rotation,
        Standard,
        StandardAttention,
        StandardDecoder,
        StandardEmbedding,
        StandardLayer,
        StandardLinear,
        StandardMLP,
        StandardNorm,
    )
    from unisono.hardware.ranks.bridge import register_bridge
    from unisono.hardware.ranks.collectives import Group
    from unisono.hardware.runtime import MemoryInfo, MemoryUse
    from unisono.hardware.weights.block_weight import BlockWeight, as_levels
    from unisono.hardware.weights.coded_weight import CodedWeight
    from unisono.hardware.weights.held_weight import HeldWeight, NumberWeight
    from unisono.hardware.weights.level_weight import LevelWeight
    from unisono.hardware.weights.packed_form import PackedForm
    from unisono.hardware.weights.quantized import quantize
    from unisono.hardware.weights.reordered_weight import ReorderedWeight
    from unisono.hardware.weights.stacked_weight import StackedWeight

__all__ = [
    "AttentionSize",
    "AttentionStep",
    "BlockWeight",
    "CodedWeight",
    "CpuHardware",
    "CpuOps",
    "DeviceReport",
    "Expert",
    "Facts",
    "Finding",
    "Group",
    "Hardware",
    "HardwareReport",
    "HeldWeight",
    "HostHardware",
    "LatentAttentionSize",
    "LayerKV",
    "LevelWeight",
    "MemoryInfo",
    "MemoryUse",
    "NumberWeight",
    "OP_TABLE_VERSION",
    "PackedForm",
    "PortableOps",
    "QuantizedKV",
    "ReorderedWeight",
    "Rotation",
    "Routing",
    "StackedExperts",
    "StackedWeight",
    "Standard",
    "StandardAttention",
    "StandardDecoder",
    "StandardEmbedding",
    "StandardLayer",
    "LowRankPart",
    "StandardLinear",
    "StandardMLP",
    "StandardNorm",
    "as_levels",
    "discover",
    "find_hardware",
    "import_plugin",
    "load_hardware",
    "quantize",
    "register_bridge",
]

_FILES = (
    *("facts", "findings", "runtime", "base"),
    *("ops.portable", "ops.attention", "ops.latent_attention", "ops.quantized_kv"),
    *("ops.experts", "ops.standard", "ranks.bridge", "ranks.collectives", "weights.packed_form"),
    *("weights.held_weight", "weights.level_weight", "weights.coded_weight"),
    *("weights.block_weight", "weights.stacked_weight", "weights.reordered_weight"),
    *("weights.quantized", "discovery", "devices.cpu"),
)
"""Files of the names, those without torch first, those that load devices last."""


def __getattr__(name: str) -> Any:
    for file in _FILES if name in __all__ else ():
        module = import_module(f"{__name__}.{file}")
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
