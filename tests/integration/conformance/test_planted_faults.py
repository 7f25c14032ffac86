"""Planted faults of the virtual accelerator: each is found by the check that must find it.

Every third one, to save minutes, unless UNISONO_ALL_FAULTS is set;
``python -m tests.integration.conformance.faults`` prints the table of all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from unisono_virtual.faults import FAULTS

from tests.integration.conformance.faults import ALLOWED, MUST_FIND, Found, found_by, shows

PLANTED = sorted(MUST_FIND) if "UNISONO_ALL_FAULTS" in os.environ else sorted(MUST_FIND)[::3]
WITH_PROGRAMS = ("dtype_int64_truncated", "gemm_wrong_tile", "sort_unstable_wrong")


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Future[Found]]]:
    """Fault -> the checks that fail with it; two at a time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield {
            fault: pool.submit(
                found_by, fault, MUST_FIND[fault], timeout=20 if fault == "hang" else 600
            )
            for fault in PLANTED
        }


def test_every_fault_has_its_check() -> None:
    assert set(FAULTS) == set(MUST_FIND) | set(ALLOWED)
    assert len(MUST_FIND) >= 25


@pytest.mark.parametrize("fault", PLANTED)
def test_the_fault_is_found_and_named(fault: str, found: dict[str, Future[Found]]) -> None:
    result = found[fault].result()[MUST_FIND[fault]]
    script = result["failures"][0]["script"]
    assert script
    assert "needs unisono" not in script
    if fault in WITH_PROGRAMS:
        assert shows(script, fault) == (1, 0)
