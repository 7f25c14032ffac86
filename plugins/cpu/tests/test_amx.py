"""Products on AMX's tiles. No processor at hand has them: all but the instructions themselves runs
here, on a model of them in C++ (amx/tile_model.h), and is compared with avx512 bit for bit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import unisono_cpu as uc

PLUGIN = Path(__file__).parent.parent
COMPILER = shutil.which("c++") or shutil.which("g++")
FLAGS = ["-std=gnu++17", "-O1", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
         f"-I{PLUGIN / 'src'}", "-pthread"]  # fmt: skip
AVX512 = [f"-m{name}" for name in ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl",
                                   "avx512dq", "avx512vnni", "avx512bf16")]  # fmt: skip
SHARED = ("matmul", "packing", "pieces", "pool", "status", "topology", "workspace")

pytestmark = pytest.mark.skipif(
    COMPILER is None or "avx512" not in uc.available_isas(),
    reason="needs a C++ compiler and the set avx512",
)


def compiled(folder: Path, source: Path, *flags: str) -> Path:
    path = folder / f"{source.stem}.o"
    subprocess.run([str(COMPILER), *FLAGS, *flags, "-c", source, "-o", path], check=True)
    return path


def products_of_avx512(folder: Path) -> Path:
    text = (PLUGIN / "src/kernels/isa.cpp.in").read_text()
    path = folder / "products_avx512.cpp"
    path.write_text(text.replace("@isa@", "avx512").replace("@part@", "products"))
    return path


def test_bits_are_those_of_avx512_and_the_stated_order(tmp_path: Path) -> None:
    model = f'-DUC_TILE_MODEL="{PLUGIN / "tests/amx/tile_model.h"}"'
    objects = [
        compiled(tmp_path, PLUGIN / "src/amx.cpp", *AVX512, model),
        compiled(tmp_path, products_of_avx512(tmp_path), *AVX512),
        compiled(tmp_path, PLUGIN / "tests/amx/products.cpp"),
        *(compiled(tmp_path, PLUGIN / f"src/{name}.cpp") for name in SHARED),
    ]
    program = tmp_path / "products"
    subprocess.run([str(COMPILER), *objects, "-pthread", "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_unverified_set_is_the_default() -> None:
    assert uc.available_isas()[0] != "amx"
    assert uc.isa() != "amx"
