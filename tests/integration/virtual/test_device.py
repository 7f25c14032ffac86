"""Everything that torch and programs written for it expect of a device."""

from __future__ import annotations

import json

import pytest

from tests.integration.virtual.children import decorated, run
from tests.once import once

SCRIPT = "device_checks.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return once(tmp_path_factory, SCRIPT, lambda: json.loads(run(SCRIPT).splitlines()[-1]))


@pytest.mark.parametrize("name", decorated(SCRIPT, "check"))
def test_device(name: str, results: dict[str, str]) -> None:
    assert results[name] == ""
