"""The compiled library in the user's cache, so that a fresh clone takes what another one compiled.

    python library_cache.py find LIBRARY COMPILER OPTION...
    python library_cache.py keep LIBRARY ENTRY COMPILER OPTION...

CMake calls it. An entry belongs to one state of the sources, one compiler and its options. ``find``
prints the path of the entry and copies it to LIBRARY; its exit code is 1 where there is none, or
none that is as it was written. An entry is written whole or not at all, and not where the sources
have changed meanwhile. A folder that someone else could have written to is not used.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def find(library: Path, built_from: list[str]) -> int:
    entry = entry_of(library.name, built_from)
    sys.stdout.write(f"{entry}\n")
    if not is_private(entry.parent) or not is_whole(entry):
        return 1
    library.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(entry, library)
    return 0


def keep(library: Path, entry: Path, built_from: list[str]) -> int:
    if entry != entry_of(library.name, built_from):
        return 0  # The sources are others by now.
    entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_private(entry.parent):
        content = library.read_bytes()
        write(checksum_file(entry), checksum(content).encode())
        write(entry, content)
    return 0


def entry_of(name: str, built_from: list[str]) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    digest = hashlib.sha256()
    for part in parts(*built_from):
        digest.update(len(part).to_bytes(8, "little") + part)
    return Path(base) / "unisono" / "cpu" / digest.hexdigest()[:24] / name


def parts(compiler: str, *options: str) -> Iterator[bytes]:
    for source in [HERE / "CMakeLists.txt", *sorted((HERE / "src").rglob("*"))]:
        if source.is_file():
            yield source.relative_to(HERE).as_posix().encode()
            yield source.read_bytes()
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # Some compilers leave a file where they are asked.
        command = [*shlex.split(compiler), "--version"]
        yield subprocess.run(command, cwd=folder, capture_output=True, check=False).stdout
    for word in (compiler, platform.machine(), *options):
        yield word.encode()


def is_private(folder: Path) -> bool:
    """True where the folder is there and nobody but this user can have written to it."""
    return all(map(is_own, (folder, folder.parent)))


def is_own(folder: Path) -> bool:
    if not hasattr(os, "getuid") or not folder.is_dir() or folder.is_symlink():
        return False
    state = folder.stat()
    return state.st_uid == os.getuid() and not state.st_mode & 0o022


def is_whole(entry: Path) -> bool:
    try:
        return checksum_file(entry).read_text("ascii") == checksum(entry.read_bytes())
    except (OSError, UnicodeDecodeError):
        return False


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def checksum_file(entry: Path) -> Path:
    return entry.with_suffix(".sha256")


def write(path: Path, content: bytes) -> None:
    """The file is there with this content, or as it was."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    with open(handle, "wb") as file:
        file.write(content)
    os.replace(name, path)


def main() -> int:
    verb, library, *rest = sys.argv[1:]
    if verb == "find":
        return find(Path(library), rest)
    return keep(Path(library), Path(rest[0]), rest[1:])


if __name__ == "__main__":
    sys.exit(main())
