"""Finds the device to check: a name that ``unisono devices`` lists, or a class being developed.

``package.module:ClassName`` names a ``Hardware`` class that nothing has registered yet; for the
children of this run it is registered, by an entry point in a folder of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from unisono.core.errors import DeviceNotFoundError

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_GROUP = "unisono.hardware"
_NAME = "under-development"


@contextlib.contextmanager
def environment_for(device: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(name of the device, environment of the children).

    Raises:
        DeviceNotFoundError: neither a known name nor the form of a class.
    """
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # others may need the cores too
    registered = {entry.name for entry in entry_points(group=_GROUP)}
    if device == "auto" or device.partition(":")[0] in registered:
        yield device, environment
        return
    if not _CLASS.fullmatch(device):
        raise DeviceNotFoundError(
            f"{device!r} is not a known device.",
            hint=f"Known: {', '.join(sorted(registered))}. See `unisono devices`.",
        )
    with tempfile.TemporaryDirectory() as folder:
        about = Path(folder) / "unisono_under_development-0.dist-info"
        about.mkdir()
        about.joinpath("METADATA").write_text(
            "Metadata-Version: 2.1\nName: unisono-under-development\nVersion: 0\n", encoding="utf-8"
        )
        about.joinpath("entry_points.txt").write_text(
            f"[{_GROUP}]\n{_NAME} = {device}\n", encoding="utf-8"
        )
        paths = [folder, os.getcwd(), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        yield _NAME, environment
