"""Products on ARM, cross-compiled and run in an emulator, against those of this processor.

Portable code gives the same bits on both. NEON is the arithmetic of AVX2, operation by operation:
integer formats and float32 give the same bits, and so does bfloat16 but for the set whose processor
multiplies pairs of bfloat16 itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import torch
import unisono_cpu as uc
from emulated import Arm
from torch import Tensor
from unisono_cpu.weights import FORMATS

SETS = {
    "cortex-a72": ["neon", "portable"],
    "neoverse-n1": ["neon_dotprod", "neon", "portable"],
    "max": ["neon_bf16", "neon_i8mm", "neon_dotprod", "neon", "portable"],
}
BATCH = 14


@dataclass(frozen=True)
class Case:
    """A weight, and rows that it is multiplied with."""

    format: str
    group: int | None
    weight: Tensor | uc.PackedWeight
    x: Tensor
    exact: bool = False
    """No sum is rounded, in whatever order it is added up."""

    def dump(self) -> bytes:
        single = self.x.dtype == torch.float32
        given, scales, bytes_given = self.weight, torch.bfloat16, 0
        if isinstance(given, uc.PackedWeight):
            given, scales, bytes_given = given.blob, torch.float16, given.num_bytes
        numbers = (FORMATS[self.format], self.group or 0, 0 if scales == torch.bfloat16 else 2,
                   *self.weight.shape, int(single), BATCH, bytes_given)  # fmt: skip
        x = self.x.view(torch.int32 if single else torch.int16)
        return struct.pack("8i", *numbers) + given.numpy().tobytes() + x.numpy().tobytes()

    def results(self, isa: str) -> tuple[bytes, bytes]:
        """The blob, and the products for 1 to BATCH rows, by a set of this processor."""
        uc.set_isa(isa)
        packed = self.weight
        if isinstance(packed, Tensor):
            packed = uc.pack(packed, self.format, self.group)
        products = [
            uc.linear(self.x[:rows], packed, dtype=torch.float32).numpy().tobytes()
            for rows in range(1, BATCH + 1)
        ]
        return packed.blob.numpy().tobytes(), b"".join(products)


def given_levels(format: str, group: int) -> Case:
    """A weight with shifts and scales of float16, as those of GGUF files have them."""
    levels = torch.randint(0, 256 if format == "int8s" else 16, (70, 256), dtype=torch.uint8)
    scales, shifts = torch.randn(2, 70, 256 // group).half().float()
    packed = uc.pack_levels(levels, scales, format, group, shifts=shifts, scale_dtype=torch.float16)
    return Case(format, group, packed, torch.randn(BATCH, 256))


def make_cases() -> list[Case]:
    kinds = [("f32", None), ("bf16", None), ("int8", None), ("int8", 32), ("int8", 128),
             ("int4", 32), ("int4", 64), ("int4", 128), ("int4z", 32), ("int4z", 128)]  # fmt: skip
    cases = [
        Case(format, group, torch.randn(rows, cols), torch.randn(BATCH, cols).to(dtype))
        for format, group in kinds
        for rows, cols, dtype in [(70, 300, torch.float32), (32, 96, torch.bfloat16)]
    ]
    cases += [given_levels("int8s", 16), given_levels("int8s", 32), given_levels("int4s", 32)]
    weight, x = torch.randint(-9, 10, (70, 300)), torch.randint(-9, 10, (BATCH, 300))
    return [*cases, Case("bf16", None, weight.float(), x.bfloat16(), exact=True)]


def as_rows(products: bytes, columns: int) -> Tensor:
    return torch.frombuffer(bytearray(products), dtype=torch.float32).view(-1, columns)


def check_rounded(case: Case, found: bytes, expected: bytes) -> None:
    """Products differ by rounding, and a row by nothing, whatever rows come along."""
    rows, others = (as_rows(products, len(case.weight)) for products in (found, expected))
    batches = rows.split(list(range(1, BATCH + 1)))
    assert all(torch.equal(batch, batches[-1][: len(batch)]) for batch in batches)
    sums = case.x.float().abs() @ case.weight.abs().T
    assert ((rows - others).abs()[-BATCH:] <= sums * case.weight.shape[1] * 2.0**-23).all()
    assert not torch.equal(rows, others)


def check_set(name: str, cases: list[Case], results: bytes) -> None:
    at = 0
    for case in cases:
        blob, products = case.results("portable" if name == "portable" else "avx2")
        assert results[at : at + len(blob)] == blob, (name, case.format, case.group)
        at += len(blob)
        found = results[at : at + len(products)]
        at += len(products)
        if name == "neon_bf16" and case.format == "bf16" and not case.exact:
            check_rounded(case, found, products)
        else:
            assert found == products, (name, case.format, case.group)
    assert at == len(results)


def test_bits_are_those_of_this_processor(arm: Arm, tmp_path: Path) -> None:
    cases = make_cases()
    dumped = b"".join(map(Case.dump, cases))
    for cpu, names in SETS.items():
        found = arm.results("products", cpu, dumped, tmp_path / cpu)
        assert sorted(found) == sorted(names)
        for name, results in found.items():
            check_set(name, cases, results)
