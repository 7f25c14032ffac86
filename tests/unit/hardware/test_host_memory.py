"""Memory of the host: what its system says is free, also where that is nothing."""

from __future__ import annotations

import pytest

from unisono.hardware import CpuHardware
from unisono.hardware.devices import cpu


@pytest.mark.parametrize("available", [0, 1, None])
def test_free_memory(monkeypatch: pytest.MonkeyPatch, available: int | None) -> None:
    monkeypatch.setattr(cpu, "_available_bytes", lambda: available)
    memory = CpuHardware().memory()
    assert memory.free == (memory.total if available is None else available)
