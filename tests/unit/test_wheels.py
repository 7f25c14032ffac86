"""``scripts/wheels``: what it refuses, and that the extra takes the kernels of the same release."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import struct
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheels() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("wheels_script", str(ROOT / "scripts" / "wheels"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def wheel(folder: Path, library: bytes) -> Path:
    path = folder / "unisono_cpu-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("unisono_cpu/libunisono_cpu.so", library)
    return path


def mach_o(*names: str) -> bytes:
    """A library of a Mac that loads others, and names one that it does not load."""
    commands = b""
    for name in names:
        path = f"/usr/lib/{name}\0".encode()
        path += bytes(-len(path) % 8)
        commands += struct.pack("<6I", 0x0C, 24 + len(path), 24, 0, 0, 0) + path
    head = struct.pack("<8I", 0xFEEDFACF, 0x0100000C, 0, 6, len(names), len(commands), 0, 0)
    return head + commands + b"/usr/lib/libstdc++.6.dylib\0"


def test_libraries_of_the_system_are_no_fault(wheels: ModuleType, tmp_path: Path) -> None:
    library = mach_o("libSystem.B.dylib")
    wheels.check(wheel(tmp_path, library), wheels.PLATFORMS["macos-arm64"])
    library = b"\0libunisono_cpu.so\0libc.so.6\0ld-linux-x86-64.so.2\0GLIBC_2.2.5\0GLIBC_2.17\0"
    wheels.check(wheel(tmp_path, library), wheels.PLATFORMS["linux-x86_64"])


@pytest.mark.parametrize(
    ("platform", "library", "needs"),
    [
        ("linux-x86_64", b"\0libc.so.6\0libstdc++.so.6\0", "libstdc++.so.6"),
        ("linux-aarch64", b"\0libc.so.6\0GLIBC_2.2.5\0GLIBC_2.34\0", "glibc 2.34"),
        ("macos-arm64", mach_o("libSystem.B.dylib", "libc++.1.dylib"), "libc++.1.dylib"),
        ("windows-x86_64", b"\0KERNEL32.dll\0libgcc_s_seh-1.dll\0", "libgcc_s_seh-1.dll"),
    ],
)
def test_what_a_system_may_lack_is_refused(
    platform: str, library: bytes, needs: str, wheels: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=re.escape(needs)):
        wheels.check(wheel(tmp_path, library), wheels.PLATFORMS[platform])


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "linux-x86_64"),
        ("Linux", "aarch64", "linux-aarch64"),
        ("Darwin", "arm64", "macos-arm64"),
        ("Darwin", "x86_64", "macos-x86_64"),
        ("Windows", "AMD64", "windows-x86_64"),
        ("Windows", "ARM64", "windows-arm64"),
    ],
)
def test_a_platform_knows_its_own_name(
    system: str, machine: str, name: str, wheels: ModuleType
) -> None:
    assert wheels.own_platform(system, machine) == name


def test_tools_are_locked_files(wheels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(wheels.venv, "create", lambda *arguments, **options: None)
    monkeypatch.setattr(wheels, "run", lambda name, command: commands.append(command))
    wheels.make_environment()
    (command,) = commands
    lock = str(ROOT / "requirements" / "wheels.lock")
    assert command[-4:] == ["--no-deps", "--require-hashes", "-r", lock]


def test_the_extra_takes_the_kernels_of_this_release() -> None:
    version = r'^version = "(.+)"$'
    own = re.search(version, (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    kernels = re.search(version, (ROOT / "plugins/cpu/pyproject.toml").read_text("utf-8"), re.M)
    assert own is not None
    assert kernels is not None
    assert own[1] == kernels[1]
    assert f'cpu = ["unisono-cpu=={own[1]}"]' in (ROOT / "pyproject.toml").read_text("utf-8")
