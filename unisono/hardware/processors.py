"""Counts the processors and cores this process may use: its affinity, and quotas of its control
groups.

Needs no torch. A quota is processor time by time; that of a group holds for the groups in it, so
the tightest counts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def usable_processors(root: Path = _ROOT) -> int:
    """At least one; a part of a processor counts as one more.

    Args:
        root: the folder in which ``proc`` and the mounted control groups are looked for.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = processor_quota(root)
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def usable_cores(root: Path = _ROOT) -> int:
    """Physical cores of those, at least one: threads that share a core multiply no faster. All
    processors, where the system does not say which share one."""
    if not hasattr(os, "sched_getaffinity"):
        return usable_processors(root)
    cores = {_core_of(processor, root) for processor in os.sched_getaffinity(0)}
    return min(len(cores), usable_processors(root))


def _core_of(processor: int, root: Path) -> str:
    """The list of its core's processors."""
    topology = root / f"sys/devices/system/cpu/cpu{processor}/topology"
    return (
        _read(topology / "core_cpus_list")
        or _read(topology / "thread_siblings_list")
        or str(processor)
    )


def processor_quota(root: Path = _ROOT) -> float | None:
    """Processors that the control groups grant, such as 1.5; None where they set no limit."""
    quotas = [
        quota
        for folder in _group_folders(root)
        for quota in (_version_2(folder), _version_1(folder))
        if quota is not None
    ]
    return min(quotas, default=None)


def _version_2(folder: Path) -> float | None:
    """``cpu.max``: ``"150000 100000"``, or ``max`` for no limit."""
    words = _read(folder / "cpu.max").split()
    return _quotient(words[0], words[1]) if len(words) == 2 else None


def _version_1(folder: Path) -> float | None:
    """``cpu.cfs_quota_us`` over ``cpu.cfs_period_us``; -1 is no limit."""
    return _quotient(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _quotient(quota: str, period: str) -> float | None:
    try:
        granted, of = int(quota), int(period)
    except ValueError:
        return None
    return granted / of if granted > 0 and of > 0 else None


def _group_folders(root: Path) -> Iterator[Path]:
    """Folders of the control groups of this process and of those around them, innermost first."""
    mounts = list(_mounts(root))
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        kind = "cpu" if "cpu" in controllers.split(",") else "" if controllers == "" else None
        for mounted_kind, mounted_group, mount_point in mounts:
            if kind is not None and kind == mounted_kind:
                inside = _below(path, mounted_group)
                for group in (inside, *inside.parents):
                    yield root / mount_point.lstrip("/") / group


def _below(path: str, mounted_group: str) -> PurePosixPath:
    """The group's path below the mounted one; a container may see no more than its own."""
    try:
        return PurePosixPath(path).relative_to(mounted_group)
    except ValueError:
        return PurePosixPath(".")


def _mounts(root: Path) -> Iterator[tuple[str, str, str]]:
    """(``"cpu"`` or, of version 2, ``""``; the group that is mounted; where) of each hierarchy."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        words, options = fields.split(), rest.split()
        if len(words) >= 5 and len(options) >= 3:
            if options[0] == "cgroup2":
                yield "", words[3], words[4]
            elif options[0] == "cgroup" and "cpu" in options[2].split(","):
                yield "cpu", words[3], words[4]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
