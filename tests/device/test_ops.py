"""The op checks of the conformance kit on every hardware here, and on the reference itself."""

from __future__ import annotations

import pytest

from unisono.conformance.context import Context
from unisono.conformance.registry import select
from unisono.conformance.running import run_check
from unisono.hardware import Facts, Hardware, HostHardware, MemoryInfo, discover, find_hardware

CHECKS = {one.name: one for one in select(["ops"])}
PRESENT = [report.name for report in discover() if report.present]


class Reference(HostHardware):
    """The portable ops, as they are, on the host."""

    facts = Facts(name="reference", device_type="cpu", dtypes=("float32", "bfloat16", "float16"))

    def memory(self) -> MemoryInfo:
        return MemoryInfo(8 << 30, 16 << 30)


@pytest.fixture(params=["reference", *PRESENT])
def hardware(request: pytest.FixtureRequest) -> Hardware:
    return Reference() if request.param == "reference" else find_hardware(request.param)


@pytest.mark.parametrize("name", CHECKS)
def test_op(hardware: Hardware, name: str) -> None:
    result = run_check(CHECKS[name], Context(hardware, quick=True))
    wrong = [f"{failure.case}: {failure.detail}" for failure in result.failures]
    assert result.outcome == "passed", "\n".join(wrong) or result.detail
