"""Faults of one op each, and the case of the kit that sees them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unisono.conformance.context import Context
from unisono.conformance.registry import select
from unisono.conformance.results import Result
from unisono.conformance.running import run_check
from unisono.hardware import Facts, HostHardware, MemoryInfo, PortableOps


class Reference(HostHardware):
    facts = Facts(name="reference", device_type="cpu", dtypes=("bfloat16", "float32"))

    def memory(self) -> MemoryInfo:
        return MemoryInfo(8 << 30, 16 << 30)


class OneDtype(Reference):
    """Kernels that take weights for what their inputs are."""

    class ops_class(PortableOps):
        def causal_conv(self, x: Tensor, weight: Tensor, *others: Any) -> Tensor:
            return super().causal_conv(x, weight.view(x.dtype)[:, : weight.shape[1]], *others)

        def gated_rms_norm(self, x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
            return super().gated_rms_norm(x, gate, weight.view(x.dtype)[: len(weight)], eps)


def failing(hardware: HostHardware, name: str) -> list[str]:
    (check,) = select([name])
    result: Result = run_check(check, Context(hardware, quick=True))
    return [failure.case for failure in result.failures]


def test_nan_in_what_a_product_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    def adds(there: Tensor, a: Tensor, b: Tensor, *, beta: float, alpha: float) -> Tensor:
        return beta * there + alpha * (a @ b)

    assert failing(Reference(), "ops.matmul") == []
    monkeypatch.setattr(torch, "baddbmm", adds)
    cases = failing(Reference(), "ops.matmul")
    assert cases
    assert all("batches, scaled" in case for case in cases)


@pytest.mark.parametrize("name", ["ops.causal_conv", "ops.gated_rms_norm"])
def test_weights_of_more_bits_than_inputs(name: str) -> None:
    cases = failing(OneDtype(), name)
    assert cases
    assert all("bfloat16, float32 weights" in case for case in cases)
