"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _weights_of_tests_stay_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Quantised weights are kept for the next start: not in the cache of whoever runs tests."""
    before = os.environ.get("UNISONO_WEIGHT_CACHE")
    os.environ["UNISONO_WEIGHT_CACHE"] = str(tmp_path_factory.mktemp("weights"))
    yield
    if before is None:
        del os.environ["UNISONO_WEIGHT_CACHE"]
    else:
        os.environ["UNISONO_WEIGHT_CACHE"] = before
