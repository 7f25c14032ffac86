"""Scripts of `make demo`: they build kernels where they can, and say once what is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
STAMP = ".venv/.native"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the scripts, and an environment of stubs."""
    for name in ("build_native", "demo"):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        shutil.copy(SCRIPTS / name, tmp_path / "scripts" / name)
    stub(tmp_path, "python", "exit 0")
    stub(
        tmp_path,
        "unisono",
        'echo answer\necho "3 tokens out" >&2\n'
        '[ -e .venv/.native ] || echo "note: cpu runs on plain torch; ..." >&2',
    )
    return tmp_path


def stub(clone: Path, name: str, script: str) -> None:
    path = clone / ".venv" / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def build(clone: Path, *, compiler: str, pip: str = "true") -> str:
    """Standard error of the build, which succeeds whatever happens."""
    environment = {"PATH": "/usr/bin:/bin", "PIP": pip, "LOCKED": "1", "CXX": compiler}
    return run(clone, "build_native", STAMP, environment=environment)


def run(clone: Path, script: str, *arguments: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [f"scripts/{script}", *arguments],
        cwd=clone,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stderr


def test_kernels_are_built_where_a_compiler_is(clone: Path) -> None:
    assert build(clone, compiler="sh").startswith("Building the native kernels with sh")
    assert (clone / STAMP).exists()


def test_without_a_compiler_one_line_says_so(clone: Path) -> None:
    said = build(clone, compiler="no-such-compiler")
    assert "there is no C++ compiler" in said
    assert said.count("\n") == 1
    assert not (clone / STAMP).exists()


def test_a_build_that_fails_does_not_fail_the_demo(clone: Path) -> None:
    *_, last = build(clone, compiler="sh", pip="no-such-pip").splitlines()
    assert last == (
        "The CPU runs on plain torch, without native kernels: their build failed, "
        ".venv/native.log says why."
    )
    assert "no-such-pip" in (clone / ".venv/native.log").read_text()
    assert not (clone / STAMP).exists()


@pytest.mark.parametrize("is_native", [True, False])
def test_no_answer_repeats_what_is_missing(clone: Path, is_native: bool) -> None:
    if is_native:
        (clone / STAMP).touch()
    said = run(clone, "demo", environment={"PATH": "/usr/bin:/bin"})
    assert said == "3 tokens out\n" * 2
