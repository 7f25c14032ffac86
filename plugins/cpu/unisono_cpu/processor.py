"""The instruction set whose kernels run. Where it is not the one that was asked for, or is none but
portable code, the log says so and why, once in a process.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Collection

from unisono_cpu.library import available_isas, call, last_error, native

ISA_VARIABLE = "UNISONO_CPU_ISA"
UNVERIFIED = frozenset({"amx"})
"""Instruction sets that no processor has run, and that none gets unasked."""
_BEYOND_PORTABLE = {"avx2", "neon"}
_log = logging.getLogger(__name__)


def features() -> tuple[str, ...]:
    """Features of the processor that kernels ask for, and that the system lets programs use."""
    return tuple(native.uc_features().decode().split())


def choose_isa() -> None:
    """Take the instruction set that ``UNISONO_CPU_ISA`` names, or the best there is.

    The variable goes where it cannot be obeyed: no child of this process says so again.
    """
    wanted = os.environ.get(ISA_VARIABLE, "")
    if wanted and native.uc_set_isa(wanted.encode()):
        why, best = last_error(), available_isas()[0]
        call("uc_set_isa", None)
        del os.environ[ISA_VARIABLE]
        _log.warning("%s=%s: %s; the %s kernels run instead.", ISA_VARIABLE, wanted, why, best)
        return
    call("uc_set_isa", wanted.encode())
    if not wanted and available_isas() == ["portable"]:
        why = why_portable(platform.machine(), features())
        _log.warning("Portable kernels run, several times slower than others: %s.", why)


def why_portable(machine: str, found: Collection[str]) -> str:
    """The reason why nothing but portable kernels runs on a processor of these features."""
    if _BEYOND_PORTABLE & set(found):
        return "this build of unisono-cpu has no others for this processor"
    if machine not in ("x86_64", "AMD64"):
        return f"unisono-cpu has no others for {machine}"
    if "hypervisor" in found:
        return "this virtual machine shows no AVX2 (a hypervisor may hide what the processor has)"
    return "this processor has no AVX2 that the system lets programs use"
