"""Devices: the contract, the reference ops, and one file for each kind of hardware."""

from unisono.hardware.attention import AttentionStep
from unisono.hardware.base import DeviceReport, Hardware, HostHardware
from unisono.hardware.discovery import HardwareReport, discover, find_hardware, load_hardware
from unisono.hardware.facts import Facts
from unisono.hardware.portable import OP_TABLE_VERSION, PortableOps
from unisono.hardware.runtime import MemoryInfo, MemoryUse

__all__ = [
    "AttentionStep",
    "DeviceReport",
    "Facts",
    "Hardware",
    "HardwareReport",
    "HostHardware",
    "MemoryInfo",
    "MemoryUse",
    "OP_TABLE_VERSION",
    "PortableOps",
    "discover",
    "find_hardware",
    "load_hardware",
]
