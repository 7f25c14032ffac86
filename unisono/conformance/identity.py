"""The subject of a check: the device, and the versions of everything on the way to it."""

from __future__ import annotations

import contextlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import torch

from unisono import __version__
from unisono.conformance.overriding import overridden_ops
from unisono.conformance.variants import untold_variants
from unisono.hardware.base import Hardware
from unisono.hardware.math_precision import MATH_APIS
from unisono.hardware.ops.portable import OP_TABLE_VERSION


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
        "math_api": facts.math_api or MATH_APIS[0],
        "distributed_backend": facts.distributed_backend,
        "total_memory": _said(lambda: hardware.memory().total),
        "versions": versions(hardware),
        "variants": untold_variants(type(hardware)),
    }
    driver = _said(lambda: hardware.device_module().driver_version())
    if isinstance(driver, (str, int)):
        described["versions"]["driver"] = str(driver)
    return described


def versions(hardware: Hardware) -> dict[str, str]:
    """Versions of unisono, its op table, Python, torch, and the packages that bring the device and
    its ops; and which ops those are."""
    facts = hardware.facts
    found = {
        "unisono": __version__,
        "op_table": str(OP_TABLE_VERSION),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    for module in (facts.import_module, type(hardware).__module__, type(hardware.ops).__module__):
        found |= _packages(module)
    found["distributed_backend"] = facts.distributed_backend or "none"
    found["overridden_ops"] = ", ".join(overridden_ops(hardware.ops)) or "none: all portable"
    return found


def _packages(module: str | None) -> dict[str, str]:
    """Distributions that bring a module, with their versions; where none says that it does, the
    module's own word."""
    top = (module or "").partition(".")[0]
    found: dict[str, str] = {}
    for package in packages_distributions().get(top, []):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    said = getattr(sys.modules.get(top), "__version__", None)
    return found or ({top: str(said)} if said is not None else {})


def _said(ask: Any) -> Any:
    """The answer; None where there is none."""
    try:
        return ask()
    except Exception:
        return None
