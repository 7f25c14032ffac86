"""Planted faults of the virtual accelerator: each is found by the check that must find it.

Every third one, to save minutes, unless UNISONO_ALL_FAULTS is set;
``python -m tests.integration.conformance.faults`` prints the table of all.
"""

from __future__ import annotations

import os

import pytest
from unisono_virtual.faults import FAULTS

from tests.integration.conformance.faults import ALLOWED, MUST_FIND, found_by, shows

PLANTED = sorted(MUST_FIND) if "UNISONO_ALL_FAULTS" in os.environ else sorted(MUST_FIND)[::3]
WITH_PROGRAMS = ("dtype_int64_truncated", "gemm_wrong_tile", "sort_unstable_wrong")


def test_every_fault_has_its_check() -> None:
    assert set(FAULTS) == set(MUST_FIND) | set(ALLOWED)
    assert len(MUST_FIND) >= 25


@pytest.mark.parametrize("fault", PLANTED)
def test_the_fault_is_found_and_named(fault: str) -> None:
    timeout = 20 if fault == "hang" else 600
    result = found_by(fault, MUST_FIND[fault], timeout=timeout)[MUST_FIND[fault]]
    script = result["failures"][0]["script"]
    assert script
    assert "needs unisono" not in script
    if fault in WITH_PROGRAMS:
        assert shows(script, fault) == (1, 0)
