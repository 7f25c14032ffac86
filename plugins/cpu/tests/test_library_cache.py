"""The compiled library is taken from the cache where it is what the sources would give."""

from __future__ import annotations

import importlib.util
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1]
BUILT_FROM = ["c++", "-O3"]

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
    library = tmp_path / "lib.so"
    library.write_bytes(b"compiled")
    entry = library_cache.entry_of(library.name, BUILT_FROM)
    assert library_cache.keep(library, entry, BUILT_FROM) == 0
    return entry


def found(tmp_path: Path, *built_from: str) -> bytes | None:
    library = tmp_path / "clone" / "lib.so"
    missing = library_cache.find(library, list(built_from) or BUILT_FROM)
    return None if missing else library.read_bytes()


def test_what_was_kept_is_found(kept: Path, tmp_path: Path) -> None:
    assert found(tmp_path) == b"compiled"
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in kept.parent.iterdir()) == ["lib.sha256", "lib.so"]


def test_nothing_is_found_where_nothing_was_kept(tmp_path: Path) -> None:
    assert found(tmp_path) is None


@pytest.mark.parametrize("built_from", [["c++", "-O1"], ["g++", "-O3"]])
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
    (tmp_path / "lib.so").write_bytes(b"of which?")
    assert library_cache.keep(tmp_path / "lib.so", entry, BUILT_FROM) == 0
    assert not entry.exists()


def test_a_damaged_entry_is_made_anew(kept: Path, tmp_path: Path) -> None:
    kept.write_bytes(b"compilex")
    assert found(tmp_path) is None
    library_cache.keep(tmp_path / "lib.so", kept, BUILT_FROM)
    assert found(tmp_path) == b"compiled"


def test_an_entry_that_was_not_finished_is_none(kept: Path, tmp_path: Path) -> None:
    kept.with_suffix(".sha256").unlink()
    assert found(tmp_path) is None


@pytest.mark.parametrize("up", [0, 1])
def test_a_folder_open_to_others_is_passed_by(kept: Path, tmp_path: Path, up: int) -> None:
    folder = [kept.parent, kept.parent.parent][up]
    folder.chmod(0o777)
    assert found(tmp_path) is None
    (tmp_path / "lib.so").write_bytes(b"later")
    library_cache.keep(tmp_path / "lib.so", kept, BUILT_FROM)
    assert kept.read_bytes() == b"compiled"


def test_cmake_takes_the_library_and_says_so(tmp_path: Path) -> None:
    """Configured twice: first nothing is there, then what lies at the place that was named."""
    configured = configure(tmp_path)
    assert "compiled (under a minute)" in configured
    entry = Path(configured.rpartition("kept as ")[2])
    entry.parent.mkdir(mode=0o700, parents=True)
    entry.write_bytes(b"compiled before")
    library_cache.checksum_file(entry).write_text(library_cache.checksum(b"compiled before"))
    assert configure(tmp_path) == f"native kernels: taken from {entry}, compiled before"
    assert (tmp_path / "build" / entry.name).read_bytes() == b"compiled before"


def configure(tmp_path: Path) -> str:
    cmake = shutil.which("cmake")
    assert cmake is not None
    done = subprocess.run(
        [cmake, "-S", str(PLUGIN), "-B", str(tmp_path / "build")],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if "native kernels" in line]
    return line.removeprefix("-- ")
