"""Every test runs on every instruction set of this processor, unless it asks for none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import unisono_cpu


@pytest.fixture(params=unisono_cpu.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    unisono_cpu.set_isa(request.param)
    yield request.param
    unisono_cpu.set_isa(None)


@pytest.fixture(autouse=True)
def _settled() -> Iterator[None]:
    torch.manual_seed(0)
    unisono_cpu.set_threads(2)
    yield
    unisono_cpu.set_isa(None)
