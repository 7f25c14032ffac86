"""Every planted fault shows, and only where it is planted."""

from __future__ import annotations

import json
import os

import pytest
from unisono_virtual import faults

from tests.integration.virtual.children import decorated, run
from tests.once import once
from unisono.core.errors import ConfigError

SCRIPT = "fault_probes.py"


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bool]]:
    return once(tmp_path_factory, SCRIPT, lambda: json.loads(run(SCRIPT).splitlines()[-1]))


@pytest.mark.parametrize("name", sorted(faults.FAULTS))
def test_fault_shows(name: str, probed: dict[str, list[bool]]) -> None:
    without, planted = probed[name]
    assert without, "its probe fails on the sound device"
    assert not planted, "it changes nothing"


def test_each_has_a_probe_and_a_description() -> None:
    assert set(decorated(SCRIPT, "probe", "group_probe")) == set(faults.FAULTS)
    assert len(faults.FAULTS) >= 28
    assert all(fault.description for fault in faults.FAULTS.values())


def test_unknown_fault_names_the_known() -> None:
    with pytest.raises(ConfigError, match="gemm_wrong_tile"):
        faults.check(["gemm_right_tile"])


def test_environment_asks_for_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, faults.VARIABLE, "hang, memory_leak")
    assert faults.from_environment() == ("hang", "memory_leak")
