"""Kernels for ARM, built once for all workers of a run."""

from __future__ import annotations

import fcntl
import os

import pytest
from emulated import MISSING, Arm


@pytest.fixture(scope="session")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Arm:
    if MISSING:
        pytest.skip(f"Kernels for ARM are not tested here: no {', '.join(MISSING)}.")
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with open(root / "arm.lock", "w") as lock:  # Who comes second finds everything built.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Arm(root / "arm-library")
