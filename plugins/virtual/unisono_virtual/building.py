"""Compiles the device against the torch that is installed, once, and finds what was compiled.

The libraries lie in a folder of the user's cache that no one else may write to; what is not the
user's own, or not as it was written, is not loaded. Knows nothing of what the library does.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from unisono.core.errors import HardwareError

SOURCES = Path(__file__).parent / "csrc"
_FLAGS = ("-std=c++20", "-O1", "-fPIC", "-Wall", "-Wno-stringop-overflow")
_MOST_UNITS = 4
_NUM_SHOWN_LINES = 15


class BuildError(HardwareError):
    """The device could not be compiled, or what is in the cache cannot be trusted."""


def library() -> Path:
    """The compiled device; compiles it where this torch has none yet (under a minute).

    Raises:
        BuildError: no compiler, its last words, or a cache folder that is not the user's own.
    """
    found = built_library()
    if found is not None:
        return found
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("There is no C++ compiler.", hint="Install g++, or name one in $CXX.")
    folder = _private_folder(cache_folder())
    with _locked(folder / "lock"):
        target = folder / _library_name(compiler)
        return target if _is_whole(target) else _build(compiler, target)


def built_library() -> Path | None:
    """The library compiled before from these sources for this torch, or None."""
    folder = cache_folder()
    if not folder.is_dir():
        return None
    _private_folder(folder)
    compiler = find_compiler()
    names = [_library_name(compiler)] if compiler else sorted(p.name for p in folder.glob("*.so"))
    return next((folder / name for name in names if _is_whole(folder / name)), None)


def can_build() -> bool:
    """True where ``library`` has something to return or to compile with."""
    return find_compiler() is not None or built_library() is not None


def find_compiler() -> list[str] | None:
    """The command of the C++ compiler, or None."""
    named = shlex.split(os.environ.get("CXX", ""))
    if named:
        return named if shutil.which(named[0]) else None
    found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    return [found] if found else None


def cache_folder() -> Path:
    """Folder of the libraries built from these sources for this torch."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "unisono" / "virtual" / _digest(*_what_is_built())


def _what_is_built() -> Iterator[bytes]:
    for source in sorted(SOURCES.iterdir()):
        if source.suffix in (".h", ".cpp"):
            yield source.name.encode() + b"\0" + source.read_bytes()
    abi = torch._C._GLIBCXX_USE_CXX11_ABI
    for part in (torch.__version__, torch.version.git_version, abi, platform.machine(), _FLAGS):
        yield str(part).encode()


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:24]


def _library_name(compiler: list[str]) -> str:
    answer = subprocess.run([*compiler, "--version"], capture_output=True, check=False)
    return f"device-{_digest(*(part.encode() for part in compiler), answer.stdout)}.so"


# -- trust --------------------------------------------------------------------------------------


def _private_folder(folder: Path) -> Path:
    """The folder, made for this user alone if need be."""
    _make_private(folder)
    for path in (folder, folder.parent):
        _require_own(path)
    return folder


def _make_private(folder: Path) -> None:
    """Make the folder, and what is missing above it, for this user alone under any umask."""
    if folder.exists():
        return
    _make_private(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return  # Another process made it meanwhile.
    folder.chmod(0o700)


def _require_own(path: Path) -> None:
    state = path.lstat()
    if path.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise BuildError(
            f"{path} could have been written by someone else.",
            hint="Remove it, or point $XDG_CACHE_HOME at a folder of your own.",
        )


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """True where the library exists, is the user's own, and is as it was written."""
    if not path.exists():
        return False
    _require_own(path)
    try:
        written = _checksum_file(path).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return False
    return written == hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- compiling ----------------------------------------------------------------------------------


def _build(compiler: list[str], target: Path) -> Path:
    started = time.monotonic()
    _say(f"building for torch {torch.__version__} (once, under a minute) ...")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = _link(compiler, _compile_all(compiler, Path(folder)), Path(folder))
        checksum = hashlib.sha256(made.read_bytes()).hexdigest()
        _checksum_file(made).write_text(checksum, "ascii")
        _checksum_file(made).replace(_checksum_file(target))
        made.replace(target)
    _say(f"built in {time.monotonic() - started:.0f} s")
    return target


def _compile_all(compiler: list[str], folder: Path) -> list[Path]:
    """Compiles the sources in as many units as there are cores, several in each: torch's headers
    take longer than what they are included for."""
    options = [*_FLAGS, *_definitions(), *_includes()]

    def compile_unit(unit: Path) -> Path:
        out = unit.with_suffix(".o")
        _run([*compiler, *options, "-c", str(unit), "-o", str(out)])
        return out

    units = _write_units(folder, min(len(os.sched_getaffinity(0)), _MOST_UNITS))
    with ThreadPoolExecutor(max_workers=len(units)) as pool:
        return list(pool.map(compile_unit, units))


def _write_units(folder: Path, count: int) -> list[Path]:
    sources = sorted(SOURCES.glob("*.cpp"), key=lambda path: -path.stat().st_size)
    units = []
    for number in range(count):
        unit = folder / f"unit{number}.cpp"
        unit.write_text("".join(f'#include "{source}"\n' for source in sources[number::count]))
        units.append(unit)
    return units


def _definitions() -> list[str]:
    return [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]


def _includes() -> list[str]:
    include = Path(torch.__file__).parent / "include"
    return ["-isystem", str(include), "-isystem", str(include / "torch/csrc/api/include")]


def _link(compiler: list[str], objects: list[Path], folder: Path) -> Path:
    made = folder / "device.so"
    libraries = (f"-L{Path(torch.__file__).parent / 'lib'}", "-ltorch_cpu", "-lc10", "-pthread")
    _run([*compiler, "-shared", "-o", str(made), *map(str, objects), *libraries])
    made.chmod(0o600)
    return made


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).splitlines()[-_NUM_SHOWN_LINES:])
        raise BuildError(
            f"The virtual device could not be compiled; the compiler's last words:\n{last}\n",
            hint="Another compiler can be named in $CXX.",
        )


def _say(message: str) -> None:
    sys.stderr.write(f"unisono-virtual: {message}\n")
    sys.stderr.flush()
