"""The compiled library is taken from the cache where it is what the sources would give."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1]
BUILT_FROM = ["c++", " ", "-O3"]

spec = importlib.util.spec_from_file_location("library_cache", PLUGIN / "library_cache.py")
assert spec is not None
assert spec.loader is not None
library_cache = importlib.util.module_from_spec(spec)
spec.loader.exec_module(library_cache)


@pytest.fixture(autouse=True)
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of their own, and a cache of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(library_cache, "HERE", tmp_path / "cpu")
    (tmp_path / "cpu" / "src").mkdir(parents=True)
    (tmp_path / "cpu" / "CMakeLists.txt").write_text("project(x)")
    source = tmp_path / "cpu" / "src" / "a.cpp"
    source.write_text("int a;")
    return source


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The entry of a library that was kept."""
    entry = library_cache.entry_of("lib.so", BUILT_FROM)
    keep(tmp_path, entry, b"compiled")
    return entry


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def found(tmp_path: Path, *built_from: str) -> bytes | None:
    library = tmp_path / "clone" / "lib.so"
    status = library_cache.main("find", str(library), *(built_from or BUILT_FROM))
    assert status in (0, library_cache.ABSENT, library_cache.UNUSABLE)
    return library.read_bytes() if status == 0 else None


def keep(tmp_path: Path, entry: Path, content: bytes) -> None:
    (tmp_path / "lib.so").write_bytes(content)
    assert library_cache.main("keep", str(tmp_path / "lib.so"), str(entry), *BUILT_FROM) == 0


def test_what_was_kept_is_found(kept: Path, tmp_path: Path) -> None:
    assert found(tmp_path) == b"compiled"
    assert sorted(path.name for path in kept.parent.iterdir()) == ["lib.sha256", "lib.so"]


def test_nothing_is_found_where_nothing_was_kept(tmp_path: Path) -> None:
    assert found(tmp_path) is None


@pytest.mark.parametrize("umask", [0, 0o002, 0o077, 0o277], indirect=True)
def test_folders_are_the_users_alone_under_any_umask(umask: int, tmp_path: Path) -> None:
    entry = library_cache.entry_of("lib.so", BUILT_FROM)
    keep(tmp_path, entry, b"compiled")
    for folder in (tmp_path / "cache", *entry.parents[:3]):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert found(tmp_path) == b"compiled"


@pytest.mark.parametrize(
    "built_from", [["c++", " ", "-O1"], ["g++", " ", "-O3"], ["c++", " -v", "-O3"]]
)
def test_other_flags_and_compilers_are_other_libraries(
    kept: Path, tmp_path: Path, built_from: list[str]
) -> None:
    assert found(tmp_path, *built_from) is None


@pytest.mark.parametrize("name", ["CMakeLists.txt", "src/a.cpp", "src/kernels/new.h"])
def test_a_changed_source_is_another_library(kept: Path, tmp_path: Path, name: str) -> None:
    changed = tmp_path / "cpu" / name
    changed.parent.mkdir(exist_ok=True)
    changed.write_text("int b;")
    assert found(tmp_path) is None


def test_a_source_that_changed_while_it_was_compiled_keeps_nothing(
    sources: Path, tmp_path: Path
) -> None:
    entry = library_cache.entry_of("lib.so", BUILT_FROM)
    sources.write_text("int b;")
    keep(tmp_path, entry, b"of which?")
    assert not entry.exists()


def test_a_damaged_entry_is_made_anew(kept: Path, tmp_path: Path) -> None:
    kept.write_bytes(b"compilex")
    assert found(tmp_path) is None
    keep(tmp_path, kept, b"compiled")
    assert found(tmp_path) == b"compiled"


def test_an_entry_that_was_not_finished_is_none(kept: Path, tmp_path: Path) -> None:
    kept.with_suffix(".sha256").unlink()
    assert found(tmp_path) is None


@pytest.mark.parametrize("up", [0, 1])
def test_a_folder_open_to_others_is_passed_by(
    kept: Path, tmp_path: Path, up: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = [kept.parent, kept.parent.parent][up]
    folder.chmod(0o777)
    assert found(tmp_path) is None
    assert f"{folder} could have been written by someone else" in capsys.readouterr().err
    keep(tmp_path, kept, b"later")
    assert kept.read_bytes() == b"compiled"


def test_an_entry_is_read_once(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that were checked are taken, whoever writes to the entry meanwhile."""
    checksum = library_cache.checksum

    def replaced_meanwhile(content: bytes) -> str:
        kept.write_bytes(b"replaced")
        return str(checksum(content))

    monkeypatch.setattr(library_cache, "checksum", replaced_meanwhile)
    assert found(tmp_path) == b"compiled"


def test_the_newest_entries_stay(kept: Path, tmp_path: Path) -> None:
    folder = kept.parent.parent
    for number in range(12):
        old = folder / f"{number:024}"
        old.mkdir(mode=0o700)
        (old / "lib.so").write_bytes(b"old")
        os.utime(old, (number, number))
    keep(tmp_path, kept, b"compiled")
    stay = [kept.parent.name, *(f"{number:024}" for number in range(5, 12))]
    assert {path.name for path in folder.iterdir()} == set(stay)


def test_what_is_not_finished_leaves_nothing(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*paths: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library_cache.os, "replace", full)
    before = sorted(kept.parent.iterdir())
    keep(tmp_path, kept, b"more")
    assert sorted(kept.parent.iterdir()) == before
    assert "compiled, and not kept: [Errno 28]" in capsys.readouterr().out
    assert found(tmp_path) is None


@pytest.mark.parametrize("what", ["a file", "no compiler"])
def test_a_cache_that_cannot_be_used_fails_no_build(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("no folder")
    built_from = BUILT_FROM if what == "a file" else [str(tmp_path / "none"), " "]
    library = str(tmp_path / "lib.so")
    (tmp_path / "lib.so").write_bytes(b"compiled")
    assert library_cache.main("find", library, *built_from) == library_cache.UNUSABLE
    entry = library_cache.entry_of("lib.so", BUILT_FROM)
    assert library_cache.main("keep", library, str(entry), *built_from) == 0
    said = capsys.readouterr()
    assert "[Errno" in said.err
    assert "compiled, and not kept: [Errno" in said.out


# -- CMake --------------------------------------------------------------------------------------


def configure(tmp_path: Path, *options: str) -> str:
    cmake = shutil.which("cmake")
    assert cmake is not None
    done = subprocess.run(
        [cmake, "-S", str(PLUGIN), "-B", str(tmp_path / "build"), *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if "native kernels" in line]
    return line.removeprefix("-- ")


def asked_for(tmp_path: Path, *options: str) -> Path:
    """The entry that the cache does not have."""
    said, _, entry = configure(tmp_path, *options).partition("the cache has none at ")
    assert said == "native kernels: compiled (under a minute); "
    return Path(entry)


def test_cmake_takes_the_library_and_says_so(tmp_path: Path) -> None:
    """Configured twice: first nothing is there, then what lies at the place that was named."""
    entry = asked_for(tmp_path)
    entry.parent.mkdir(mode=0o700, parents=True)
    entry.write_bytes(b"compiled before")
    library_cache.checksum_file(entry).write_text(library_cache.checksum(b"compiled before"))
    assert configure(tmp_path) == f"native kernels: taken from {entry}, compiled before"
    assert (tmp_path / "build" / entry.name).read_bytes() == b"compiled before"


def test_cmake_compiles_where_the_cache_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    assert "compiled; the cache is of no use: [Errno" in configure(tmp_path)


def test_what_is_for_one_processor_is_not_asked_for(tmp_path: Path) -> None:
    said = configure(tmp_path, "-DCMAKE_CXX_FLAGS=-march=native")
    assert said == "native kernels: compiled for this very processor, past the cache"


def test_a_system_to_compile_for_is_part_of_the_key(tmp_path: Path) -> None:
    entries = [
        asked_for(tmp_path, "-DCMAKE_OSX_DEPLOYMENT_TARGET=", "-DCMAKE_SYSROOT="),
        asked_for(tmp_path, "-DCMAKE_OSX_DEPLOYMENT_TARGET=11.0"),
        asked_for(tmp_path, "-DCMAKE_OSX_DEPLOYMENT_TARGET=12.0"),
        asked_for(tmp_path, "-DCMAKE_SYSROOT=/"),
    ]
    assert len(set(entries)) == 4


def test_a_compiler_and_its_arguments_are_two_words(tmp_path: Path) -> None:
    """The compiler lies in a folder with a blank and is given an argument, as ``ccache g++`` is."""
    compiler, asked = tmp_path / "my tools" / "c++", tmp_path / "asked"
    compiler.parent.mkdir()
    compiler.write_text(f'#!/bin/sh\necho "$@" >> "{asked}"\nexec c++ "$@"\n')
    compiler.chmod(0o755)
    asked_for(tmp_path, f"-DCMAKE_CXX_COMPILER={compiler};-pipe")
    assert "-pipe --version" in asked.read_text().splitlines()
