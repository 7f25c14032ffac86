"""Compiling once, and loading nothing that someone else could have written."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from unisono_virtual import BuildError, building

from tests.integration.virtual.children import start
from tests.waiting import PATIENCE_S

DESCRIBE = [sys.executable, "-m", "unisono_virtual"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds a copy of what is built."""
    built = building.library()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = building.cache_folder()
    folder.mkdir(mode=0o700, parents=True)
    for file in (built, built.with_suffix(".sha256")):
        shutil.copy2(file, folder)
    return folder


@pytest.fixture
def fake_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that notes its calls and writes what it was asked to write."""
    compiler = tmp_path / "c++"
    calls = tmp_path / "calls"
    compiler.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {calls}\n'
        'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo made > "$2"; shift; done\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    return calls


def test_what_is_built_is_found_again(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert building.library().parent == cache
    assert capfd.readouterr().err == ""


def test_building_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compiler: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = building.library()
    calls = fake_compiler.read_text()
    assert "-shared" in calls
    assert building.library() == first
    new = fake_compiler.read_text()[len(calls) :].split()
    assert set(new) == {"--version"}
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", [0, 0o002, 0o077])
def test_the_folder_is_the_users_alone_under_any_umask(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compiler: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    old = os.umask(umask)
    try:
        built = building.library()
    finally:
        os.umask(old)
    for folder in built.parents[:4]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert building.built_library() == built


def test_two_processes_build_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compiler: Path
) -> None:
    program = "from unisono_virtual import building; building.library()"
    processes = [start(program, XDG_CACHE_HOME=str(tmp_path)) for _ in range(2)]
    assert [process.wait(PATIENCE_S) for process in processes] == [0, 0]
    links = [line for line in fake_compiler.read_text().splitlines() if "-shared" in line]
    assert len(links) == 1


def test_a_changed_library_is_not_loaded(cache: Path) -> None:
    library = building.built_library()
    assert library is not None
    library.write_bytes(library.read_bytes() + b"x")
    assert building.built_library() is None


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_open_to_others_is_refused(cache: Path, mode: int) -> None:
    cache.chmod(mode)
    with pytest.raises(BuildError, match="someone else"):
        building.library()


def test_another_users_library_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(BuildError, match="someone else"):
        building.library()


def test_a_link_is_refused(cache: Path) -> None:
    library = building.built_library()
    assert library is not None
    real = library.rename(cache.parent / "elsewhere.so")
    library.symlink_to(real)
    with pytest.raises(BuildError, match="someone else"):
        building.library()


def test_a_failing_compiler_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'no room for templates' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BuildError, match="no room for templates"):
        building.library()
    assert not list(building.cache_folder().glob("*.so"))
    assert "building for torch" in capfd.readouterr().err


def test_no_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/no/such/compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not building.can_build()
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        building.library()


def test_sources_travel_with_the_package() -> None:
    assert len(list(building.SOURCES.glob("*.cpp"))) > 10


def test_the_module_says_what_it_is() -> None:
    done = subprocess.run([*DESCRIBE, "h200"], capture_output=True, text=True, check=True)
    assert "NVIDIA H200" in done.stdout
    assert "141.00 GiB" in done.stdout
