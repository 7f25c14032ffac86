"""Each vendor's hardware file, on the virtual accelerator under that vendor's device string.

Device types that torch itself has (cuda, xpu, mps, hpu) cannot be given to another device: for
these, the file's class is pointed at the virtual device, so that its code runs all the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S
from unisono.hardware import load_hardware

EXERCISE = Path(__file__).with_name("exercise.py")
BUILT_INTO_TORCH = {"cpu", "cuda", "xpu", "mps", "hpu"}
CLASSES = {
    name: cls
    for name, cls in load_hardware()[0].items()
    if cls.__module__.startswith("unisono.hardware.")
}
RENAMED = [name for name, cls in CLASSES.items() if cls.facts.device_type not in BUILT_INTO_TORCH]


@pytest.fixture(scope="module")
def exercised() -> Iterator[dict[str, Future[str]]]:
    """Every vendor, two at a time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        names = sorted(set(CLASSES) - {"cpu"})
        yield {name: pool.submit(lambda name=name: finish(start(name))) for name in names}


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXERCISE), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors[-3000:]
    return out


def test_every_vendor_is_here() -> None:
    assert {"supa", "npu", "musa", "mlu", "gcu", "hpu", "cuda", "rocm", "xpu", "mps"} <= set(
        CLASSES
    )
    assert {"supa", "npu", "musa", "mlu", "gcu"} <= set(RENAMED)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"cpu"}))
def test_a_vendor_file_on_a_stand_in(name: str, exercised: dict[str, Future[str]]) -> None:
    assert json.loads(exercised[name].result().splitlines()[-1]) == {}


@pytest.mark.parametrize("name", [n for n in RENAMED if CLASSES[n].facts.distributed_backend])
def test_the_collectives_of_a_vendor(name: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    ranks = [start(name, "--rank", str(rank), "--store", store) for rank in range(2)]
    for rank in ranks:
        finish(rank)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"cpu"}))
def test_facts_are_complete(name: str) -> None:
    facts = CLASSES[name].facts
    assert facts.name == name
    assert facts.vendor
    assert facts.rests_on
    assert facts.detection_order < CLASSES["cpu"].facts.detection_order
    if facts.device_type not in BUILT_INTO_TORCH:
        assert facts.detection_order < CLASSES["cuda"].facts.detection_order


def test_biren_is_asked_before_all_others() -> None:
    assert next(iter(CLASSES)) == "supa"
