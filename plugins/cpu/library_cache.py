"""The compiled library in the user's cache, so that a fresh clone takes what another one compiled.

    python library_cache.py find LIBRARY COMPILER ARGUMENTS OPTION...
    python library_cache.py keep LIBRARY ENTRY COMPILER ARGUMENTS OPTION...

CMake calls it. An entry belongs to one state of the sources, one compiler with its arguments (one
word, as a shell takes it apart) and its options. ``find`` prints the path of the entry and copies
it to LIBRARY; its exit code is ABSENT where there is none that is as it was written, and UNUSABLE,
with the reason on standard error, where the cache is of no use. ``keep`` fails no build: it says
what hindered it. An entry is written whole or not at all, and not where the sources have changed
meanwhile; the newest stay. A folder that someone else could have written to is not used.
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
ABSENT, UNUSABLE = 3, 4
MOST_ENTRIES = 8


def find(library: Path, built_from: list[str]) -> int:
    entry = entry_of(library.name, built_from)
    content = read_whole(entry)
    if content is None:
        sys.stdout.write(f"{entry}\n")
        return ABSENT
    library.parent.mkdir(parents=True, exist_ok=True)
    write(library, content)
    library.chmod(0o644)
    sys.stdout.write(f"{entry}\n")
    return 0


def keep(library: Path, entry: Path, built_from: list[str]) -> int:
    if entry != entry_of(library.name, built_from):
        return 0  # The sources are others by now.
    make_private(entry.parent)
    check_private(entry.parent)
    content = library.read_bytes()
    write(checksum_file(entry), checksum(content).encode())
    write(entry, content)
    prune(entry.parent.parent)
    return 0


# -- the key ------------------------------------------------------------------------------------


def entry_of(name: str, built_from: list[str]) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    digest = hashlib.sha256()
    for part in parts(*built_from):
        digest.update(len(part).to_bytes(8, "little") + part)
    return Path(base) / "unisono" / "cpu" / digest.hexdigest()[:24] / name


def parts(compiler: str, arguments: str, *options: str) -> Iterator[bytes]:
    for source in [HERE / "CMakeLists.txt", *sorted((HERE / "src").rglob("*"))]:
        if source.is_file():
            yield source.relative_to(HERE).as_posix().encode()
            yield source.read_bytes()
    yield version_of([compiler, *shlex.split(arguments)])
    for word in (compiler, arguments, platform.machine(), *options):
        yield word.encode()


def version_of(command: list[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:  # Some leave a file where they are asked.
        done = subprocess.run([*command, "--version"], cwd=folder, capture_output=True, check=False)
    return done.stdout


# -- trust --------------------------------------------------------------------------------------


def make_private(folder: Path) -> None:
    """Make the folder, and what is missing above it, for this user alone under any umask."""
    if folder.exists():
        return
    make_private(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return  # Another build made it meanwhile.
    folder.chmod(0o700)


def check_private(folder: Path) -> None:
    """Fail where anyone but this user can have written to a folder that is there."""
    for path in (folder.parent, folder):
        if (path.exists() or path.is_symlink()) and not is_own(path):
            raise PermissionError(f"{path} could have been written by someone else")


def is_own(folder: Path) -> bool:
    if not hasattr(os, "getuid") or not folder.is_dir() or folder.is_symlink():
        return False
    state = folder.stat()
    return state.st_uid == os.getuid() and not state.st_mode & 0o022


def read_whole(entry: Path) -> bytes | None:
    """The entry's bytes, read once; None where they are not there as they were written."""
    check_private(entry.parent)
    try:
        content, written = entry.read_bytes(), checksum_file(entry).read_bytes()
    except FileNotFoundError:
        return None
    return content if written == checksum(content).encode() else None


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def checksum_file(entry: Path) -> Path:
    return entry.with_suffix(".sha256")


# -- files --------------------------------------------------------------------------------------


def write(path: Path, content: bytes) -> None:
    """The file is there with this content, or as it was."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def prune(folder: Path) -> None:
    """Remove all entries but the newest."""
    entries = [path for path in folder.glob("?" * 24) if is_own(path)]
    entries.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in entries[MOST_ENTRIES:]:
        shutil.rmtree(old, ignore_errors=True)


def main(verb: str, library: str, *rest: str) -> int:
    try:
        if verb == "find":
            return find(Path(library), list(rest))
        return keep(Path(library), Path(rest[0]), list(rest[1:]))
    except OSError as error:
        if verb == "find":
            sys.stderr.write(f"{error}\n")
            return UNUSABLE
        sys.stdout.write(f"native kernels: compiled, and not kept: {error}\n")
        return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
