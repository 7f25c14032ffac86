"""Reproductions: programs of a few lines that need torch and the vendor's package, no more.

A probe is a function that needs torch alone; its own source is its reproduction. A call of an ATen
op is written down with inputs that are made anew: random ones where they show the fault too.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import torch

from unisono.hardware.base import Hardware


@dataclass(frozen=True, slots=True)
class DeviceText:
    """The text by which a program names the device."""

    device: str
    imports: tuple[str, ...]
    """Lines that bring the device to torch."""

    @classmethod
    def of(cls, hardware: Hardware) -> DeviceText:
        return cls(str(hardware.device), _imports(hardware))

    def header(self, title: str, *imports: str) -> str:
        """Comment, imports, and the device."""
        lines = [f"# {line}" for line in title.splitlines()]
        lines += ["from __future__ import annotations", ""]
        lines += [f"import {name}" for name in sorted({*imports, "torch"})]
        lines += self.imports
        return "\n".join([*lines, "", f'device = torch.device("{self.device}")', ""])


def _imports(hardware: Hardware) -> tuple[str, ...]:
    """The vendor's package; or, where an installed package is the device, its own ``install``."""
    if hardware.facts.import_module is not None:
        return (f"import {hardware.facts.import_module}",)
    package = type(hardware).__module__.partition(".")[0]
    if callable(getattr(sys.modules.get(package), "install", None)):
        return (f"import {package}", f"{package}.install()")
    return ()


def expect(ok: Any, message: str) -> None:
    """Raises AssertionError with ``message`` unless ``ok``."""
    if not ok:
        raise AssertionError(message)


def probe_script(device: DeviceText, title: str, probe: Callable[[torch.device], None]) -> str:
    """The probe's own source, called."""
    source = dedent(inspect.getsource(probe))
    body = f"{dedent(inspect.getsource(expect))}\n\n{source}\n\n{probe.__name__}(device)\n"
    modules = {name for name in ("copy", "io", "math", "time") if f"{name}." in source}
    return f"{device.header(title, *modules)}\n\n{body}"
