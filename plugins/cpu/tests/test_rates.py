"""The rates that a prefill is compared with."""

from __future__ import annotations

import ctypes

import pytest
import unisono_cpu as uc
from unisono_cpu.hardware import NativeCpuHardware
from unisono_cpu.library import call


@pytest.mark.parametrize("format", sorted(uc.FORMATS))
def test_products_alone_have_a_rate(isa: str, format: str) -> None:
    assert uc.products_per_s(format) > 0


@pytest.mark.parametrize("format", sorted(uc.FORMATS))
def test_every_operation_is_counted(isa: str, format: str) -> None:
    """The number of them, not their time: it grows with rounds and with threads."""
    uc.set_threads(1)
    one = _operations(format, 1)
    assert one > 0
    assert _operations(format, 1000) == 1000 * one
    uc.set_threads(2)
    assert _operations(format, 1000) == 2000 * one


def _operations(format: str, rounds: int) -> float:
    operations = ctypes.c_double()
    call("uc_products", uc.FORMATS[format], rounds, ctypes.byref(operations))
    return operations.value


def test_the_rate_belongs_to_the_held_format() -> None:
    hardware = NativeCpuHardware()
    for weights in ("auto", "int4-g32", "int8-g128", "Q4_1", "Q6_K"):
        assert hardware.products_per_s(weights, "bfloat16")
    assert hardware.products_per_s("auto", "float16") is None
    assert hardware.products_per_s("F8_E4M3", "bfloat16") is None
