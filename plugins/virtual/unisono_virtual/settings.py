"""The device installed in this process: one, for torch has room for one such device."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.core.errors import HardwareError
from unisono_virtual.chips import Imitation


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Arguments of ``install``; ``compiled`` is False for the device in Python."""

    name: str
    imitation: Imitation
    num_devices: int
    faults: tuple[str, ...]
    lacking: tuple[str, ...]
    compiled: bool


_installed: list[Settings] = []


def installed() -> Settings | None:
    """The settings of this process, or None."""
    return _installed[0] if _installed else None


def settings() -> Settings:
    """The settings of this process.

    Raises:
        HardwareError: nothing yet.
    """
    if not _installed:
        raise HardwareError("The virtual device is not installed.", hint="Call install() first.")
    return _installed[0]


def remember(made: Settings) -> None:
    _installed.append(made)
