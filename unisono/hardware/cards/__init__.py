"""Capability cards: what ``unisono check`` found on real devices, as data."""
