"""Devices: one file a kind of hardware."""
