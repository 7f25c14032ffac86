"""Tries ``import torch`` in a process of its own.

A vendor's package that torch loads by itself can make ``import torch`` fail: then the package and
the way out have to be named. Imports no torch.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points

from unisono.core.errors import HardwareError
from unisono.hardware.findings import Finding

AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"
_GROUP = "torch.backends"
_TIME_LIMIT_S = 120
_FAILED = re.compile(r"Failed to load the backend extension: (?P<name>[\w.-]+?)\.?(\s|$)")
"""torch's message; the name is that of an entry point."""


def autoloaded() -> list[str]:
    """Packages that torch imports by itself."""
    return sorted(entry.value.partition(":")[0] for entry in entry_points(group=_GROUP))


def probe() -> Finding:
    """One line about ``import torch``, with the culprit where it fails."""
    failed = _try_import(autoload=True)
    if failed is None:
        loads = f", which loads {', '.join(autoloaded())}" if autoloaded() else ""
        return Finding("ok", "import torch", f"works{loads}")
    if autoloaded() and _try_import(autoload=False) is None:
        packages = [failed.package] if failed.package else autoloaded()
        what = f"fails because of {_blame(packages)}: {failed.cause}"
        return Finding("problem", "import torch", what, _way_out(packages))
    what = f"fails: {failed.cause}"
    return Finding("problem", "import torch", what, "Install torch 2.8 or newer.")


def explain(error: BaseException) -> HardwareError | None:
    """``error`` in words for a user, where it is ``import torch`` that failed in this process
    because of a package that torch loads by itself; None where it is not."""
    link: BaseException | None = error
    while link is not None:
        package, cause = _package_in(str(link)), link.__cause__
        if package:
            why = str(link) if cause is None else f"{type(cause).__name__}: {cause}"
            return HardwareError(
                f"import torch fails because of {_blame([package])}: {why}",
                hint=_way_out([package]),
            )
        link = cause or link.__context__
    return None


def _blame(packages: list[str]) -> str:
    return f"{' or '.join(packages)}, which torch loads by itself"


def _way_out(packages: list[str]) -> str:
    which = packages[0] if len(packages) == 1 else "that package"
    return f"Upgrade or uninstall {which}; until then set {AUTOLOAD}=0."


def _package_in(text: str) -> str:
    """The installed package that torch complains of; empty where it complains of none."""
    found = _FAILED.search(text)
    if found is None:
        return ""
    for entry in entry_points(group=_GROUP):
        if entry.name == found["name"] and entry.dist is not None:
            return str(entry.dist.name)
    return found["name"]


@dataclass(frozen=True, slots=True)
class _Failed:
    """The first cause of a failed ``import torch``, and the package that torch names, if any."""

    cause: str
    package: str = ""


def _try_import(*, autoload: bool) -> _Failed | None:
    """None where it works."""
    environment = dict(os.environ) if autoload else {**os.environ, AUTOLOAD: "0"}
    command = [sys.executable, "-c", "import torch"]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _Failed(f"it did not end within {_TIME_LIMIT_S} s")
    if done.returncode == 0:
        return None
    said = done.stderr.decode("utf-8", "replace").strip()
    lines = said.splitlines()
    causes = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    cause = (causes or lines[-1:] or [f"the process ended with status {done.returncode}"])[0]
    return _Failed(cause, _package_in(said))
