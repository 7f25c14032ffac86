"""Libraries and processors that do not fit: the process goes on, and one line says how and why."""

from __future__ import annotations

import logging
import os
import platform
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import unisono_cpu as uc
from unisono_cpu import processor
from unisono_cpu.platforms import platform_of, this_platform

SOURCES = Path(__file__).parents[1] / "src"
X86_FEATURES = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512dq",
    "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16", "hypervisor",
)  # fmt: skip
ARM_FEATURES = {"neon": "asimd", "dotprod": "asimddp", "i8mm": "i8mm", "bf16": "bf16"}
"""With the names that Linux has for them."""


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, machine, 1) + bytes(40)


def mach_o(machine: int) -> bytes:
    return struct.pack("<II", 0xFEEDFACF, machine) + bytes(24)


def pe(machine: int) -> bytes:
    return b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", machine)


LIBRARIES = {
    "Linux x86_64": elf(62),
    "Linux aarch64": elf(183),
    "Linux machine 7": elf(7),
    "Darwin arm64": mach_o(0x0100000C),
    "Windows AMD64": pe(0x8664),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_platform_of_a_library_is_read_from_its_head(name: str, tmp_path: Path) -> None:
    path = tmp_path / "library"
    path.write_bytes(LIBRARIES[name])
    assert platform_of(path) == name
    path.write_bytes(LIBRARIES[name][:6])
    assert platform_of(path) is None


def test_the_library_in_use_is_for_this_platform() -> None:
    from unisono_cpu.library import native

    assert platform_of(Path(native._name)) == this_platform()


def devices(**environment: str) -> tuple[str, str]:
    """The output of ``unisono devices``, and its standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "unisono", "devices", "--json"], capture_output=True, text=True,
        env={**os.environ, "UNISONO_IGNORE_PACKAGES": "", **environment}, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr


def test_devices_name_the_kernels_and_the_processor() -> None:
    shown, said = devices()
    assert f"native kernels ({uc.available_isas()[0]}; the processor has" in shown
    for feature in set(processor.features()) - {"hypervisor"}:
        assert feature in shown
    assert not said


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (elf(8), f"is for Linux machine 8, this is {this_platform()}"),
        (b"no library at all", "does not load"),
        (None, "is not at"),
    ],
)
def test_a_library_that_does_not_fit_leaves_plain_torch(
    content: bytes | None, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "libunisono_cpu.so"
    if content is not None:
        path.write_bytes(content)
    shown, said = devices(UNISONO_CPU_LIBRARY=str(path))
    assert "plain torch (" in shown
    (line,) = said.splitlines()
    assert line.startswith("cpu runs on plain torch, without unisono-cpu: ")
    assert why in line
    assert line.endswith("pip install --force-reinstall --no-deps unisono_cpu-*.whl")


@pytest.mark.parametrize(
    ("machine", "found", "why"),
    [
        ("x86_64", (), "no AVX2"),
        ("AMD64", ("hypervisor",), "a hypervisor may hide"),
        ("riscv64", (), "no others for riscv64"),
        ("x86_64", ("avx2", "fma", "f16c"), "this build of unisono-cpu has no others"),
        ("aarch64", ("neon",), "this build of unisono-cpu has no others"),
    ],
)
def test_portable_kernels_say_why_they_run(
    machine: str, found: tuple[str, ...], why: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.delenv(processor.ISA_VARIABLE, raising=False)
    monkeypatch.setattr(processor, "available_isas", lambda: ["portable"])
    monkeypatch.setattr(processor, "features", lambda: found)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with caplog.at_level(logging.WARNING):
        processor.choose_isa()
    (line,) = caplog.messages
    assert line.startswith("Portable kernels run, several times slower than others: ")
    assert why in line


def test_portable_kernels_that_were_asked_for_say_nothing() -> None:
    assert not devices(UNISONO_CPU_ISA="portable")[1]


def test_the_known_features_are_those_that_the_library_names() -> None:
    text = (SOURCES / "processor.cpp").read_text("utf-8")
    named = re.findall(r'\{"(\w+)", \d|add\("(\w+)"\)', text)
    assert {x86 or arm for x86, arm in named} == {*X86_FEATURES, *ARM_FEATURES}


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux alone lists features")
def test_features_are_those_that_linux_shows() -> None:
    shown = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    known = {
        "x86_64": {name: name for name in X86_FEATURES}, "aarch64": ARM_FEATURES
    }.get(platform.machine(), {})  # fmt: skip
    assert set(processor.features()) == {name for name in known if known[name] in shown}


def test_no_integer_of_the_sources_is_narrower_on_windows() -> None:
    """There a ``long`` has 32 bits."""
    for path in (*SOURCES.rglob("*.h"), *SOURCES.rglob("*.cpp")):
        code = re.sub(r"//.*|/\*.*?\*/|\"[^\"]*\"", "", path.read_text("utf-8"))
        assert not re.search(r"\blong\b|\d[lL]\b", code), path.name
