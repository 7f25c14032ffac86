"""Is the set of driver, torch, plugins and unisono on this machine consistent, and what to change.

Reads what is installed and asks each hardware file; starts no work on a device.
"""

from __future__ import annotations

import glob
import os
import platform
import shutil
import sys
from collections import Counter
from importlib.metadata import Distribution, distributions, entry_points

import torch
from packaging.requirements import InvalidRequirement, Requirement

from unisono import __version__
from unisono.hardware.base import Hardware
from unisono.hardware.cards.status import status_of
from unisono.hardware.discovery import load_hardware
from unisono.hardware.findings import Finding
from unisono.hardware.ops.portable import OP_TABLE_VERSION
from unisono.hardware.torch_import import AUTOLOAD, autoloaded

_OLDEST_TORCH, _NEWEST_TORCH = (2, 8), (2, 15)
"""Versions that unisono has been used with, or whose interface was read."""


def examine() -> list[Finding]:
    """Every finding, the general before the particular."""
    classes, broken = load_hardware()
    return [
        *_versions(),
        *_autoload(),
        *_requirements(),
        *_entry_points(broken),
        *(finding for cls in classes.values() for finding in _hardware(cls)),
        *_private_use(classes),
    ]


def _versions() -> list[Finding]:
    build = torch.version.cuda and f"CUDA {torch.version.cuda}"
    build = build or (torch.version.hip and f"HIP {torch.version.hip}") or "no CUDA, no HIP"
    here = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return [
        Finding("ok", "unisono", f"{__version__}, op table {OP_TABLE_VERSION}; {here}"),
        _torch_version(f"{torch.__version__} ({build})"),
    ]


def _torch_version(what: str) -> Finding:
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if (major, minor) < _OLDEST_TORCH:
        oldest = ".".join(map(str, _OLDEST_TORCH))
        return Finding("problem", "torch", f"{what} is too old", f"Install {oldest} or newer.")
    if (major, minor) > _NEWEST_TORCH:
        return Finding("note", "torch", f"{what} is newer than this unisono has seen")
    return Finding("ok", "torch", what)


def _autoload() -> list[Finding]:
    if autoloaded() and os.environ.get(AUTOLOAD) == "0":
        what = f"{AUTOLOAD}=0 keeps torch from loading {', '.join(autoloaded())}"
        return [Finding("note", "torch", what, f"Unset {AUTOLOAD} to use those devices.")]
    return []


def _requirements() -> list[Finding]:
    """Installed packages that name a torch which is not the one installed."""
    return [finding for package in distributions() for finding in _torch_requirement(package)]


def _torch_requirement(package: Distribution) -> list[Finding]:
    findings = []
    for line in package.requires or ():
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        installed = torch.__version__
        if wanted.name == "torch" and applies and not wanted.specifier.contains(installed, True):
            name = package.metadata["Name"]
            findings.append(
                Finding(
                    "problem",
                    name,
                    f"{package.version} needs torch{wanted.specifier}, installed is {installed}",
                    f"Install the {name} that was built for torch {installed}, or the torch it "
                    "names.",
                )
            )
    return findings


def _entry_points(broken: dict[str, str]) -> list[Finding]:
    findings = [
        Finding("problem", name, why, "Repair or uninstall the package that brings it.")
        for name, why in broken.items()
    ]
    entries = {
        (entry.name, entry.value)
        for entry in entry_points(group="unisono.hardware")
        if not entry.value.startswith("unisono.")
    }
    names = Counter(name for name, _ in entries)
    for name, count in names.items():
        if count > 1:
            findings.append(
                Finding(
                    "warning",
                    name,
                    f"{count} installed packages bring a hardware of that name; one is used",
                    "Uninstall the others.",
                )
            )
    return findings


def _hardware(cls: type[Hardware]) -> list[Finding]:
    """Presence, what the driver shows, and what the file itself finds."""
    name = cls.facts.name
    try:
        reason = cls.missing()
        findings = [_present(cls)] if reason is None else _absent(cls, reason)
        return [*findings, *_visible_devices(cls), *cls.diagnose()]
    except Exception as error:
        what = f"asking for it failed ({type(error).__name__}: {error})"
        return [Finding("problem", name, what, "Check its driver with the vendor's own tool.")]


def _present(cls: type[Hardware]) -> Finding:
    count = cls.count()
    status = status_of(cls.facts.name)
    advice = "" if status == "verified" else f"Run `unisono check {cls.facts.name}`."
    what = f"{count} here, {cls.describe(0)}, {status}"
    return Finding("ok", cls.facts.name, what, advice)


def _absent(cls: type[Hardware], reason: str) -> list[Finding]:
    facts = cls.facts
    driver = _driver_signs(cls)
    plugin = facts.import_module
    if plugin is not None and plugin in sys.modules:
        what = f"{plugin} {_version(plugin)} is installed, and {reason}"
        advice = f"Look with {facts.tool or 'the vendor tool'} whether the driver sees the card."
        return [Finding("warning", facts.name, what, advice)]
    if driver:
        what = f"a driver seems to be here ({', '.join(driver)}), and {reason}"
        package = plugin or f"the vendor's build of torch with device {facts.device_type!r}"
        advice = f"Install {package} for torch {torch.__version__.partition('+')[0]}."
        return [Finding("problem", facts.name, what, advice)]
    return []


def _driver_signs(cls: type[Hardware]) -> list[str]:
    facts = cls.facts
    signs = [facts.tool] if facts.tool and shutil.which(facts.tool) else []
    return signs + (sorted(glob.glob(facts.device_nodes))[:1] if facts.device_nodes else [])


def _version(module: str) -> str:
    return str(getattr(sys.modules[module], "__version__", "of unknown version"))


def _visible_devices(cls: type[Hardware]) -> list[Finding]:
    variable = cls.facts.visible_devices_variable
    if variable is None or variable not in os.environ:
        return []
    value = os.environ[variable]
    what = f"{variable}={value!r} " + ("hides every device" if not value.strip() else "is set")
    return [Finding("note", cls.facts.name, what)]


def _private_use(classes: dict[str, type[Hardware]]) -> list[Finding]:
    """A process can hold one out-of-tree device; two installed plugins compete for it."""
    modules = {cls.facts.import_module for cls in classes.values()} - {None}
    loaded = sorted(str(name) for name in modules if name in sys.modules)
    if len(loaded) < 2:
        return []
    what = f"{' and '.join(loaded)} are installed; torch holds one out-of-tree device a process"
    return [Finding("warning", "plugins", what, "Use one environment for each.")]
