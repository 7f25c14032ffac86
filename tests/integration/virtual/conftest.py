"""The device is compiled once for all tests."""

from __future__ import annotations

import pytest
from unisono_virtual import building


@pytest.fixture(scope="session", autouse=True)
def _built() -> None:
    if building.find_compiler() is None:
        pytest.skip("needs a C++ compiler")
    building.library()
