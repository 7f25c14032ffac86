"""The library cross-compiled for ARM, its calls in an emulator, and what has to hold for them.

Emulated kernels are some hundred times slower. UNISONO_ARM_CASES=all asks for all cases of this
folder; without it each test takes some of every kind.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import unisono_cpu as uc
from torch import Tensor

HERE = Path(__file__).parent
PLUGIN = HERE.parents[1]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
MISSING = [name for name in (COMPILER, EMULATOR, "cmake") if shutil.which(name) is None]
SETS = ("neon_bf16", "neon", "portable")
"""Instruction sets with kernels of their own beside products."""
DTYPES = {torch.bfloat16: 0, torch.float32: 1}
ATTENTION, KV_WRITE, ADD_RMS_NORM, SILU_MUL, ROTARY_HEADS, ARGMAX, DRAW = range(7)

T = TypeVar("T")


def some(cases: Sequence[T], step: int) -> Sequence[T]:
    """Every so-many-th, the first among them; all where all cases are asked for."""
    return cases if os.environ.get("UNISONO_ARM_CASES") == "all" else cases[::step]


@dataclass(frozen=True)
class Call:
    """One call of calls.cpp, and what has to hold for the tensors that it makes."""

    function: int
    numbers: Sequence[int]
    floats: Sequence[float]
    given: Sequence[Tensor | None]
    here: Sequence[Tensor]
    """The tensors that portable code makes on this processor: its bits on ARM, too."""
    holds: Callable[..., bool]
    by_lanes: Sequence[Tensor] = ()
    """Tensors of AVX2, whose bits NEON has where no sum goes across lanes."""

    def dump(self) -> bytes:
        head = struct.pack(
            "13i2f2i", self.function, *padded(self.numbers, 12), *padded(self.floats, 2),
            len(self.given), len(self.here),
        )  # fmt: skip
        given = [b"" if each is None else raw(each) for each in self.given]
        made = (struct.pack("q", len(raw(each))) for each in self.here)
        return b"".join([head, *(struct.pack("q", len(data)) + data for data in given), *made])

    def take(self, isa: str, data: Iterator[int]) -> bool:
        """True where what an instruction set made, taken from its results, is right."""
        made = [like(each, data) for each in self.here]
        exact = self.here if isa == "portable" else self.by_lanes
        pairs = zip(made, exact, strict=False)
        return self.holds(*made) and all(raw(one) == raw(other) for one, other in pairs)


def padded(numbers: Sequence[float], count: int) -> list[float]:
    return [*numbers, *[0] * (count - len(numbers))]


def raw(x: Tensor) -> bytes:
    return x.contiguous().view(torch.uint8).numpy().tobytes()


def like(x: Tensor, data: Iterator[int]) -> Tensor:
    """A tensor as ``x`` is, of the next bytes."""
    content = bytearray(next(data) for _ in range(x.numel() * x.element_size()))
    return torch.frombuffer(content, dtype=x.dtype).view(x.shape)


def on(isa: str, function: Callable[[], T]) -> T:
    """The function's result by an instruction set of this processor."""
    uc.set_isa(isa)
    return function()


class Arm:
    """The library in a folder, and programs that call it on an emulated processor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "built").exists():
            self._build()
            (folder / "built").touch()

    def _build(self) -> None:
        folder = self.folder
        run("cmake", "-S", PLUGIN, "-B", folder, "-DCMAKE_SYSTEM_NAME=Linux",
            "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={COMPILER}")  # fmt: skip
        run("cmake", "--build", folder, "--parallel", "2")
        for program in ("products", "calls"):
            run(COMPILER, "-std=c++17", "-O1", f"-I{PLUGIN / 'src'}", HERE / f"{program}.cpp",
                folder / "libunisono_cpu.so", f"-Wl,-rpath,{folder}",
                "-o", folder / program)  # fmt: skip

    def results(
        self, program: str, cpu: str, cases: bytes, folder: Path, *sets: str
    ) -> dict[str, bytes]:
        """Output of a program for the cases, by instruction set."""
        out = folder / "out"
        out.mkdir(parents=True)
        (folder / "cases").write_bytes(cases)
        emulator = [EMULATOR, "-L", "/usr/aarch64-linux-gnu", "-cpu", cpu]
        run(*emulator, self.folder / program, folder / "cases", out, *sets)
        return {path.name: path.read_bytes() for path in out.iterdir()}

    def check(self, calls: Sequence[Call], folder: Path) -> None:
        results = self.results("calls", "max", b"".join(map(Call.dump, calls)), folder, *SETS)
        assert sorted(results) == sorted(SETS)
        for isa, result in results.items():
            data = iter(result)
            for index, call in enumerate(calls):
                assert call.take(isa, data), (isa, index, call.function, call.numbers)
            assert next(data, None) is None


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, (command[0], done.stderr)
