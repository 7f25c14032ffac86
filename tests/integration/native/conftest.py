"""Here the CPU is that of unisono-cpu."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import unisono_cpu


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNISONO_IGNORE_PACKAGES", "")


@pytest.fixture
def isas() -> Iterator[None]:
    """A test may force an instruction set."""
    yield
    unisono_cpu.set_isa(None)
