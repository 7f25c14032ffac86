"""Scripts of `make demo`: they build kernels where they can, and say once what is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

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


def build(
    clone: Path, *options: str, compiler: str = "sh", pip: str = "true", status: int = 0
) -> str:
    """Standard error of the build."""
    environment = {"PATH": "/usr/bin:/bin", "PIP": pip, "LOCKED": "1", "CXX": compiler}
    return run(clone, "build_native", *options, STAMP, environment=environment, status=status)


def run(
    clone: Path, script: str, *arguments: str, environment: dict[str, str], status: int = 0
) -> str:
    done = subprocess.run(
        [f"scripts/{script}", *arguments],
        cwd=clone,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == status, done.stderr
    return done.stderr


def test_kernels_are_built_where_a_compiler_is(clone: Path) -> None:
    """One line of pip's output is shown: where the library comes from."""
    stub(
        clone,
        "pip",
        'case "$*" in *plugins/cpu) echo noise; echo "  -- native kernels: taken from x";; esac',
    )
    assert build(clone, pip=".venv/bin/pip") == "native kernels: taken from x\n"
    assert (clone / STAMP).exists()


def test_without_a_compiler_one_line_says_so(clone: Path) -> None:
    said = build(clone, compiler="no-such-compiler")
    assert "there is no C++ compiler" in said
    assert said.count("\n") == 1
    assert not (clone / STAMP).exists()


def test_a_build_that_fails_does_not_fail_the_demo(clone: Path) -> None:
    *_, last = build(clone, pip="no-such-pip").splitlines()
    assert last == (
        "The CPU runs on plain torch, without native kernels: their build failed, "
        ".venv/native.log says why."
    )
    assert "no-such-pip" in (clone / ".venv/native.log").read_text()
    assert not (clone / STAMP).exists()


@pytest.mark.parametrize(
    ("compiler", "pip", "reason"),
    [
        ("no-such-compiler", "true", "there is no C++ compiler"),
        ("sh", "false", "their build failed"),
    ],
)
def test_tests_need_the_kernels(clone: Path, compiler: str, pip: str, reason: str) -> None:
    said = build(clone, "--required", compiler=compiler, pip=pip, status=1)
    assert said.startswith(f"The native kernels could not be installed: {reason}")
    assert not (clone / STAMP).exists()


@pytest.mark.parametrize("is_native", [True, False])
def test_no_answer_repeats_what_is_missing(clone: Path, is_native: bool) -> None:
    if is_native:
        (clone / STAMP).touch()
    said = run(clone, "demo", environment={"PATH": "/usr/bin:/bin"})
    assert said == "3 tokens out\n" * 2
