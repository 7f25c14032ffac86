"""What is being checked: the device, and the versions of everything on the way to it."""

from __future__ import annotations

import contextlib
import platform
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import torch

from unisono import __version__
from unisono.hardware import OP_TABLE_VERSION, Hardware

__all__ = ["describe"]


def describe(hardware: Hardware) -> dict[str, Any]:
    """Plain data for cards and reports."""
    facts = hardware.facts
    described: dict[str, Any] = {
        "hardware": facts.name,
        "device": str(hardware.device),
        "index": hardware.index,
        "description": _said(lambda: type(hardware).describe(hardware.index)),
        "vendor": facts.vendor,
        "dtypes": list(facts.dtypes),
        "features": sorted(facts.features),
        "distributed_backend": facts.distributed_backend,
        "total_memory": _said(lambda: hardware.memory().total),
        "versions": versions(facts.import_module),
    }
    driver = _said(lambda: torch.get_device_module(hardware.device.type).driver_version())
    if isinstance(driver, (str, int)):
        described["versions"]["driver"] = str(driver)
    return described


def versions(import_module: str | None) -> dict[str, str]:
    """Of unisono, its op table, Python, torch, and the packages that bring the device."""
    found = {
        "unisono": __version__,
        "op_table": str(OP_TABLE_VERSION),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    if import_module is not None:
        for package in packages_distributions().get(import_module.partition(".")[0], []):
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
    return found


def _said(ask: Any) -> Any:
    """The answer; None where there is none."""
    try:
        return ask()
    except Exception:
        return None
