"""Whether ``import torch`` works here, asked in a process of its own.

A vendor's package that torch loads by itself can make ``import torch`` fail, and then nothing in
this process could say so. Imports no torch.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points

from unisono.hardware.findings import Finding

__all__ = ["AUTOLOAD", "autoloaded", "probe"]

AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"
_TIME_LIMIT_S = 120


def autoloaded() -> list[str]:
    """Packages that torch imports by itself."""
    return sorted(entry.value.partition(":")[0] for entry in entry_points(group="torch.backends"))


def probe() -> Finding:
    """One line about ``import torch``, with the culprit where it fails."""
    complaint = _complaint(autoload=True)
    if complaint is None:
        loads = f", which loads {', '.join(autoloaded())}" if autoloaded() else ""
        return Finding("ok", "import torch", f"works{loads}")
    if autoloaded() and _complaint(autoload=False) is None:
        return Finding(
            "problem",
            "import torch",
            f"fails because of {' or '.join(autoloaded())}, which torch loads by itself: "
            f"{complaint}",
            f"Repair or uninstall that package; until then set {AUTOLOAD}=0.",
        )
    return Finding("problem", "import torch", f"fails: {complaint}", "Install torch 2.8 or newer.")


def _complaint(*, autoload: bool) -> str | None:
    """What a failing ``import torch`` names as its first cause; None where it works."""
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
        return f"it did not end within {_TIME_LIMIT_S} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    causes = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (causes or lines[-1:] or [f"the process ended with status {done.returncode}"])[0]
