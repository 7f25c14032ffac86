"""The device is compiled once for all tests; without a C++ compiler they fail, and say so."""

from __future__ import annotations

import pytest
from unisono_virtual import building


@pytest.fixture(scope="session", autouse=True)
def _built() -> None:
    building.library()
