"""Devices: the contract, the reference ops, and one file for each kind of hardware."""

from unisono.hardware.attention import AttentionStep
from unisono.hardware.base import Facts, Hardware, HostHardware, MemoryInfo
from unisono.hardware.discovery import DeviceReport, HardwareReport, discover, find_hardware
from unisono.hardware.portable import OP_TABLE_VERSION, PortableOps

__all__ = [
    "AttentionStep",
    "DeviceReport",
    "Facts",
    "Hardware",
    "HardwareReport",
    "HostHardware",
    "MemoryInfo",
    "OP_TABLE_VERSION",
    "PortableOps",
    "discover",
    "find_hardware",
]
