"""The rates that a prefill is compared with: operations counted, and no time taken."""

from __future__ import annotations

from ctypes import byref, c_double
from itertools import count
from types import SimpleNamespace

import pytest
import unisono_cpu as uc
from unisono_cpu import ops
from unisono_cpu.hardware import NativeCpuHardware
from unisono_cpu.library import call

MULTIPLICATIONS = {
    "portable": (64, 64, 16, 16),
    "avx2": (16, 32, 8, 8),
    "avx_vnni": (32, 32, 8, 8),
    "avx512_base": (32, 64, 16, 16),
    "avx512_vnni": (64, 64, 16, 16),
    "avx512": (64, 64, 32, 16),
    "amx": (16384, 16384, 8192, 16),
    "neon": (16, 16, 4, 4),
    "neon_dotprod": (16, 16, 4, 4),
    "neon_i8mm": (32, 32, 4, 4),
    "neon_bf16": (32, 32, 8, 4),
}
"""Multiplications of one product of registers: of int8, int4, bfloat16 and float32."""
COLUMNS = {
    "int8": 0, "int8s": 0, "int4": 1, "int4z": 1, "int4s": 1, "bf16": 2, "f32": 3,
}  # fmt: skip
SUMS = 12


def operations(isa: str, format: str) -> int:
    """A multiplication and an addition each, of one round of one thread."""
    return 2 * SUMS * MULTIPLICATIONS[isa][COLUMNS[format]]


@pytest.mark.parametrize("format", sorted(uc.FORMATS))
@pytest.mark.parametrize("threads", [1, 3])
def test_every_operation_of_every_thread_counts(isa: str, format: str, threads: int) -> None:
    uc.set_threads(threads)
    for rounds in (0, 1, 50):
        counted = c_double(-1.0)
        call("uc_products", uc.FORMATS[format], rounds, byref(counted))
        assert counted.value == operations(isa, format) * rounds * threads


def test_a_rate_is_operations_by_time(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a second passes with each look at the clock."""
    monkeypatch.setattr(ops, "time", SimpleNamespace(perf_counter=count().__next__))
    uc.set_threads(1)
    assert uc.products_per_s("int8") == operations(isa, "int8") * 2**14


@pytest.mark.parametrize(
    ("weights", "format"),
    [("auto", "bf16"), ("int4-g32", "int4"), ("int8-g128", "int8"), ("Q4_1", "int4"),
     ("Q6_K", "int8"), ("F8_E4M3", None)],
)  # fmt: skip
def test_the_rate_belongs_to_the_held_format(
    weights: str, format: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {name: 1.0 + index for index, name in enumerate(uc.FORMATS)}
    monkeypatch.setattr(uc, "products_per_s", rates.__getitem__)
    found = NativeCpuHardware().products_per_s(weights, "bfloat16")
    assert found == (None if format is None else rates[format])


def test_no_kernel_multiplies_float16() -> None:
    assert NativeCpuHardware().products_per_s("auto", "float16") is None
