"""Each vendor's hardware file, on the virtual accelerator under that vendor's device string.

Device types that torch itself has (cuda, xpu, mps, hpu) cannot be given to another device: for
these, the file's class is pointed at the virtual device, so that its code runs all the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forked import Forked
from tests.integration.vendors.exercise import BUILT_INTO_TORCH, collectives, exercise
from unisono.hardware import load_hardware

CLASSES = {
    name: cls
    for name, cls in load_hardware()[0].items()
    if cls.__module__.startswith("unisono.hardware.")
}
RENAMED = [name for name, cls in CLASSES.items() if cls.facts.device_type not in BUILT_INTO_TORCH]


def test_every_vendor_is_here() -> None:
    assert {"supa", "npu", "musa", "mlu", "gcu", "hpu", "cuda", "rocm", "xpu", "mps"} <= set(
        CLASSES
    )
    assert {"supa", "npu", "musa", "mlu", "gcu"} <= set(RENAMED)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"cpu"}))
def test_a_vendor_file_on_a_stand_in(name: str) -> None:
    assert Forked(exercise, name).result() == {}


@pytest.mark.parametrize("name", [n for n in RENAMED if CLASSES[n].facts.distributed_backend])
def test_the_collectives_of_a_vendor(name: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    ranks = [Forked(collectives, name, rank, store) for rank in range(2)]
    for rank in ranks:
        rank.result()


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
