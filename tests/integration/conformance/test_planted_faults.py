"""Planted faults of the virtual accelerator: each is found by the check that must find it."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from tests.integration.conformance.faults import ALLOWED, MUST_FIND, found_by, shows

VIRTUAL = "virtual" in {entry.name for entry in entry_points(group="unisono.hardware")}
needs_virtual = pytest.mark.skipif(not VIRTUAL, reason="unisono-virtual is not installed")
WITH_PROGRAMS = ("gemm_wrong_tile", "exp_flushes_small", "bf16_truncates", "tied_weights_untied")


@needs_virtual
def test_every_fault_has_its_check() -> None:
    from unisono_virtual.faults import FAULTS

    assert set(FAULTS) == set(MUST_FIND) | set(ALLOWED)
    assert len(MUST_FIND) >= 25


@needs_virtual
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", sorted(MUST_FIND))
def test_the_fault_is_found_and_named(fault: str) -> None:
    check = MUST_FIND[fault]
    found = found_by(fault, check, timeout=20 if fault == "hang" else 120)
    assert check in found
    failure = found[check]["failures"][0]
    assert failure["script"]
    assert "needs unisono" not in failure["script"]
    if fault in WITH_PROGRAMS:
        assert shows(failure["script"], fault) == (1, 0)
