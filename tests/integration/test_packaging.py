"""The wheel is small, complete, and has no surprises in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO_FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_wheel_without_the_demo_model_is_under_1_mb(wheel: zipfile.ZipFile) -> None:
    sizes = {i.filename: i.compress_size for i in wheel.infolist() if "/demo/" not in i.filename}
    assert sum(sizes.values()) < 1_000_000


def test_wheel_holds_the_package_and_the_demo_model(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "unisono").rglob("*.py")}
    assert sources <= names
    assert {f"unisono/demo/{name}" for name in DEMO_FILES} <= names
    assert "unisono/py.typed" in names
    assert not any(name.startswith(("tests/", "scripts/", "benchmarks/")) for name in names)


def test_demo_model_is_at_most_15_mb() -> None:
    files = (ROOT / "unisono" / "demo").iterdir()
    assert sum(path.stat().st_size for path in files if path.is_file()) <= 15_000_000
