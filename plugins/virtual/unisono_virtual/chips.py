"""The imitated chip: its memory and rates, from the spec ledger. Unknown stays unknown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from unisono.core.errors import ConfigError
from unisono.hardware.specs import ChipSpec, find_spec

MEMORY_VARIABLE = "UNISONO_VIRTUAL_MEMORY"
_MOST_BY_DEFAULT = 16 << 30
_PEAKS = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "float32": "fp32",
    "float8_e4m3fn": "fp8",
    "int8": "int8",
}
"""Quantity of the ledger for products of each dtype."""
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, kw_only=True, slots=True)
class Imitation:
    """One virtual device as programs see it. Bytes, bytes/s, FLOP/s; ``bandwidth`` 0 is unknown."""

    chip: str | None
    title: str
    memory_bytes: int
    bandwidth: float = 0.0
    peaks: dict[str, float] = field(default_factory=dict)

    @property
    def unpredictable(self) -> str | None:
        """Reason why no time can be predicted, whatever runs; None where it can."""
        if self.chip is None:
            return "no chip is imitated (virtual:CHIP names one)"
        if not self.bandwidth:
            return f"no memory bandwidth is published for {self.title}"
        return None


def imitate(chip: str | None, memory_bytes: int | None = None) -> Imitation:
    """The device that stands for ``chip``.

    Memory is what was asked for, else what ``UNISONO_VIRTUAL_MEMORY`` says, else the chip's, else
    half of the host's, at most 16 GiB.

    Raises:
        SpecError: the ledger has no such chip.
        ConfigError: the variable is no size.
    """
    spec = find_spec(chip) if chip else None
    wanted = memory_bytes or _from_environment() or _memory_of(spec) or _default_memory()
    if spec is None:
        return Imitation(chip=None, title="virtual accelerator", memory_bytes=wanted)
    rates = {dtype: spec.base(quantity) for dtype, quantity in _PEAKS.items()}
    return Imitation(
        chip=spec.id,
        title=spec.name,
        memory_bytes=wanted,
        bandwidth=spec.base("memory_bandwidth") or 0.0,
        peaks={dtype: rate for dtype, rate in rates.items() if rate},
    )


def split_choice(which: str) -> tuple[str | None, int]:
    """``h200:1`` -> (``h200``, 1); ``1`` -> (None, 1); empty -> (None, 0)."""
    chip, _, index = which.rpartition(":")
    if not chip and not (index.isascii() and index.isdecimal()):
        chip, index = index, ""
    return chip or None, int(index) if index.isascii() and index.isdecimal() else 0


def _memory_of(spec: ChipSpec | None) -> int | None:
    """Published, or else what its software was seen to report."""
    if spec is None:
        return None
    memory = spec.base("memory") or spec.measured_base("memory")
    return int(memory) if memory else None


def _from_environment() -> int | None:
    text = os.environ.get(MEMORY_VARIABLE, "").strip()
    if not text:
        return None
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)(?:i?b)?", text.lower())
    if match is None or int(match[1]) == 0:
        raise ConfigError(f"{MEMORY_VARIABLE}={text} is no size.", hint="Write 8GiB or 512MiB.")
    return int(match[1]) * _UNITS[match[2]]


def _default_memory() -> int:
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(host // 2, _MOST_BY_DEFAULT)
