"""The platform that a library is for, read from its first bytes, and that of this process."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

_ELF = {
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    21: "ppc64le",
    22: "s390x",
    258: "loongarch64",
}
_MACH_O = {0x01000007: "x86_64", 0x0100000C: "arm64"}
_PE = {0x8664: "AMD64", 0xAA64: "ARM64"}


def platform_of(library: Path) -> str | None:
    """System and processor, as ``this_platform`` names them; None for a file of another kind."""
    with library.open("rb") as file:
        head = file.read(1024)
    if head[:4] == b"\x7fELF" and len(head) >= 20:
        return _named("Linux", _ELF, struct.unpack_from("<H", head, 18)[0])
    if head[:4] == b"\xcf\xfa\xed\xfe" and len(head) >= 8:
        return _named("Darwin", _MACH_O, struct.unpack_from("<I", head, 4)[0])
    if head[:2] == b"MZ" and len(head) >= 64:
        at = struct.unpack_from("<I", head, 60)[0]
        if head[at : at + 4] == b"PE\0\0" and len(head) >= at + 6:
            return _named("Windows", _PE, struct.unpack_from("<H", head, at + 4)[0])
    return None


def this_platform() -> str:
    """System and processor of this process."""
    return f"{platform.system()} {platform.machine()}"


def _named(system: str, machines: dict[int, str], machine: int) -> str:
    return f"{system} {machines.get(machine, f'machine {machine}')}"
