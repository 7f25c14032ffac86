"""The number of usable processors: quotas of control groups, read from made-up trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unisono.hardware import processors
from unisono.hardware.processors import processor_quota, usable_cores, usable_processors

MOUNT_2 = "41 31 0:38 {group} {point} rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate"
MOUNT_1 = "32 31 0:29 {group} {point} rw,relatime - cgroup cgroup rw,{controllers}"


def tree(root: Path, groups: str, *mounts: str, **files: str) -> Path:
    """``files``: content by path."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text("\n".join(mounts) + "\n")
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def version_2(root: Path, group: str, mounted: str = "/", **quotas: str) -> Path:
    """``cpu.max`` by the path of the folder under the mount point."""
    files = {f"sys/fs/cgroup/{folder}/cpu.max": text for folder, text in quotas.items()}
    mount = MOUNT_2.format(group=mounted, point="/sys/fs/cgroup")
    return tree(root, f"0::{group}\n", mount, **files)


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("max 100000", None),
        ("200000 100000\n", 2.0),
        ("150000 100000", 1.5),
        ("5000 100000", 0.05),
        ("", None),
        ("max", None),
        ("many 100000", None),
        ("0 100000", None),
        ("100000 0", None),
    ],
)
def test_version_2(tmp_path: Path, text: str, quota: float | None) -> None:
    assert processor_quota(version_2(tmp_path, "/", **{".": text})) == quota


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    quotas = {
        ".": "max 100000",
        "a": "150000 50000",
        "a/b": "200000 100000",
        "a/b/c": "max 100000",
        "a/b/c/d": "400000 100000",
        "a/other": "100000 100000",
    }
    assert processor_quota(version_2(tmp_path, "/a/b/c", **quotas)) == 2.0


def test_a_group_around_it_may_be_the_tightest(tmp_path: Path) -> None:
    quotas = {"a": "100000 100000", "a/b": "300000 100000"}
    assert processor_quota(version_2(tmp_path, "/a/b", **quotas)) == 1.0


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    """With the host's names in /proc, and with names of its own."""
    named = version_2(tmp_path / "host", "/docker/x/sub", "/docker/x", sub="300000 100000")
    assert processor_quota(named) == 3.0
    own = version_2(tmp_path / "own", "/", "/docker/x", **{".": "300000 100000"})
    assert processor_quota(own) == 3.0


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize(("quota", "expected"), [("-1", None), ("250000", 2.5)])
def test_version_1(tmp_path: Path, controllers: str, quota: str, expected: float | None) -> None:
    point = f"/sys/fs/cgroup/{controllers}"
    root = tree(
        tmp_path,
        f"9:memory:/m\n4:{controllers}:/a/b\n3:cpuset:/a/b\n1:name=systemd:/a/b\n",
        MOUNT_1.format(group="/", point=point, controllers=controllers),
        MOUNT_1.format(group="/", point="/sys/fs/cgroup/cpuset", controllers="cpuset"),
        **{
            f"{point[1:]}/a/b/cpu.cfs_quota_us": "-1\n",
            f"{point[1:]}/a/b/cpu.cfs_period_us": "100000\n",
            f"{point[1:]}/a/cpu.cfs_quota_us": f"{quota}\n",
            f"{point[1:]}/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpuset/a/cpu.cfs_quota_us": "1000",
            "sys/fs/cgroup/cpuset/a/cpu.cfs_period_us": "100000",
        },
    )
    assert processor_quota(root) == expected


def test_both_versions_at_once(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "4:cpu:/a\n0::/u\n",
        MOUNT_1.format(group="/", point="/sys/fs/cgroup/cpu", controllers="cpu"),
        MOUNT_2.format(group="/", point="/sys/fs/cgroup/unified"),
        **{
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "400000",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/unified/u/cpu.max": "300000 100000",
        },
    )
    assert processor_quota(root) == 3.0


@pytest.mark.parametrize("groups", ["", "nonsense\n", "0::\n", "::::\n", "0::/../..\n"])
def test_files_that_say_nothing_limit_nothing(tmp_path: Path, groups: str) -> None:
    root = tree(tmp_path, groups, "short", "1 2 3 - cgroup2", " - ")
    assert processor_quota(root) is None
    assert processor_quota(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1)],
)
def test_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda pid: set(range(8)))
    root = version_2(tmp_path, "/", **{".": text})
    assert usable_processors(root) == expected
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda pid: {3})
    assert usable_processors(root) == 1


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [({0, 1, 4, 5}, 2), ({0, 1, 2, 3}, 4), ({0, 4}, 1), ({3}, 1), ({0, 1, 8, 9}, 4)],
)
def test_processors_that_share_a_core_count_once(
    allowed: set[int], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cores of two processors, 0 and 4 up to 3 and 7; of 8 and 9 the system says nothing."""
    for processor in range(8):
        name = "core_cpus_list" if processor % 2 else "thread_siblings_list"
        path = tmp_path / f"sys/devices/system/cpu/cpu{processor}/topology" / name
        path.parent.mkdir(parents=True)
        path.write_text(f"{processor % 4},{processor % 4 + 4}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed, raising=False)
    assert usable_cores(tmp_path) == expected


def test_a_quota_counts_for_cores_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert usable_cores(version_2(tmp_path, "/", **{".": "150000 100000"})) == 2


def test_here() -> None:
    assert 1 <= usable_cores() <= usable_processors() <= (os.cpu_count() or 1)
