"""Jobs in pieces: no item is left out or done twice, and who is late holds up nobody for longer
than told (pool/pieces.cpp). Threads by memory node, on machines that are made up."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from unisono.hardware.processors import usable_processors

SOURCES = Path(__file__).parent.parent / "src"
PROGRAM = Path(__file__).parent / "pool/pieces.cpp"
COMPILER = shutil.which("c++") or shutil.which("g++")
TOGETHER = ("late_members_hold_nobody_up", "nobody_is_further_than_the_reach")
"""Cases of two processors: threads that share one do not do each other's pieces."""

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pieces") / "pieces"
    names = ("pieces.cpp", "pool.cpp", "status.cpp", "topology.cpp")
    sources = [PROGRAM, *(SOURCES / name for name in names)]
    flags = ["-std=c++17", "-O1", f"-I{SOURCES}", "-pthread"]
    subprocess.run([str(COMPILER), *flags, *sources, "-o", path], check=True)
    return path


@pytest.mark.parametrize(
    "case",
    ["all_items_once", "numbers_of_jobs_wrap_around", *TOGETHER, "the_own_node_is_helped_first",
     "others_wait_where_a_piece_is_done_once"],
)  # fmt: skip
def test_jobs(case: str, program: Path) -> None:
    if case in TOGETHER and usable_processors() < 2:
        pytest.skip("needs two processors")
    done = subprocess.run([program, case], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("nodes", "allowed", "threads", "expected"),
    [
        ({0: "0-1"}, [0, 1], 2, ["2: 0 1"]),
        (
            {0: "0-3,8-11", 1: "4-7,12-15"}, range(16), 8,
            ["4: 0 1 2 3 8 9 10 11", "4: 4 5 6 7 12 13 14 15"],
        ),
        ({0: "0-3", 1: "4-7"}, [1, 2, 3, 4], 4, ["3: 1 2 3", "1: 4"]),
        ({0: "0-3", 1: "4-7"}, [4, 5], 2, ["2: 4 5"]),
        ({0: "0-1", 2: "2-3", 3: ""}, range(4), 3, ["1: 0 1", "2: 2 3"]),
        ({0: "0-1", 1: "2-3"}, range(4), 1, ["1: 0 1"]),
        ({}, [0, 1], 2, ["2:"]),
    ],
)  # fmt: skip
def test_nodes(
    nodes: dict[int, str], allowed: list[int], threads: int, expected: list[str], program: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    folder = tmp_path / "sys/devices/system/node"
    for node, processors in nodes.items():
        (folder / f"node{node}").mkdir(parents=True)
        (folder / f"node{node}/cpulist").write_text(f"{processors}\n")
    if nodes:
        (folder / "online").write_text(",".join(map(str, nodes)) + "\n")
    done = subprocess.run(
        [program, "nodes", tmp_path, str(threads), *map(str, allowed)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == expected
