"""Records of the ledger: chips, their quantities, and figures with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Grade = Literal["vendor", "reseller", "measured", "press", "community", "inferred", "recalled"]
Direction = Literal["both", "one way"]
UnknownReason = Literal["not disclosed by the vendor", "not found", "sources contradict"]
UNKNOWN_REASONS: tuple[str, ...] = get_args(UnknownReason)


@dataclass(frozen=True, slots=True)
class GradeInfo:
    """The grade of a figure: how far it can be trusted; ``letter`` is its mark in tables."""

    letter: str
    meaning: str


GRADES: Mapping[Grade, GradeInfo] = {
    "vendor": GradeInfo("V", "the vendor's own page, document or repository"),
    "reseller": GradeInfo("C", "a cloud reseller's or dealer's page"),
    "measured": GradeInfo("M", "measured by a third party on the real card"),
    "press": GradeInfo("P", "press, or the abstract of a paper"),
    "community": GradeInfo("K", "a community list or benchmark page, often wrong"),
    "inferred": GradeInfo("I", "inferred from other figures"),
    "recalled": GradeInfo("R", "recalled, not verified"),
}


@dataclass(frozen=True, slots=True)
class QuantityKind:
    """One thing that is known of a chip: its label, the units it is published in, the base unit."""

    label: str
    units: tuple[str, ...]
    base_unit: str


QUANTITIES: Mapping[str, QuantityKind] = {
    "memory": QuantityKind("memory", ("GB", "GiB", "MiB"), "bytes"),
    "memory_bandwidth": QuantityKind("memory bandwidth", ("GB/s",), "bytes/s"),
    "bf16": QuantityKind("bf16, dense", ("TFLOPS",), "FLOP/s"),
    "fp16": QuantityKind("fp16, dense", ("TFLOPS",), "FLOP/s"),
    "fp32": QuantityKind("fp32", ("TFLOPS",), "FLOP/s"),
    "tf32": QuantityKind("tf32, dense", ("TFLOPS",), "FLOP/s"),
    "fp8": QuantityKind("fp8, dense", ("TFLOPS",), "FLOP/s"),
    "int8": QuantityKind("int8, dense", ("TOPS",), "OP/s"),
    "link_bandwidth": QuantityKind("link bandwidth", ("GB/s",), "bytes/s, one way"),
    "board_power": QuantityKind("board power", ("W",), "W"),
}
"""Every chip's file says something about each of these, in this order."""

_FACTORS: Mapping[str, float] = {
    "GB": 1e9,
    "GiB": 2.0**30,
    "MiB": 2.0**20,
    "GB/s": 1e9,
    "TFLOPS": 1e12,
    "TOPS": 1e12,
    "W": 1.0,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The source of a statement.

    ``date`` is the source's own (YYYY, YYYY-MM or YYYY-MM-DD) where it has one; ``retrieved`` is
    when it was read.
    """

    source: str
    grade: Grade
    retrieved: str
    date: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure(Evidence):
    """A number as published.

    ``direction`` is given for links alone. ``part`` names the part of the card that a measurement
    covers; it is empty for the whole card.
    """

    value: float
    unit: str
    direction: Direction | None = None
    part: str = ""

    @property
    def base(self) -> float:
        """In base units: bytes, bytes/s, FLOP/s, OP/s, W; a link in one direction."""
        both_ways = 2 if self.direction == "both" else 1
        return self.value * _FACTORS[self.unit] / both_ways


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One quantity: exactly one of ``nominal``, ``unsupported``, ``unknown``.

    ``unsupported`` is the evidence that the chip has no units for this type. ``measured`` and
    ``conflicts`` (what other sources say) may stand beside any of the three.
    """

    name: str
    nominal: Figure | None = None
    unsupported: Evidence | None = None
    unknown: UnknownReason | None = None
    note: str = ""
    measured: tuple[Figure, ...] = ()
    conflicts: tuple[Figure, ...] = ()

    @property
    def best_measured(self) -> Figure | None:
        """The highest measurement of a whole card."""
        whole = [figure for figure in self.measured if not figure.part]
        return max(whole, key=lambda figure: figure.base, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChipSpec:
    """One chip of the ledger; ``quantities`` has every name of ``QUANTITIES``."""

    id: str
    name: str
    vendor: str
    aliases: tuple[str, ...]
    notes: tuple[str, ...]
    quantities: Mapping[str, Quantity]

    def base(self, quantity: str) -> float | None:
        """The published figure in base units (bytes, bytes/s, FLOP/s, OP/s, W), None if unknown.

        A link is per direction: half of a figure that is published as the sum of both. Never a
        measurement.

        Raises:
            KeyError: not a name of ``QUANTITIES``.
        """
        nominal = self.quantities[quantity].nominal
        return None if nominal is None else nominal.base

    def measured_base(self, quantity: str) -> float | None:
        """The highest measurement of a whole card in base units, None where there is none.

        Raises:
            KeyError: not a name of ``QUANTITIES``.
        """
        measured = self.quantities[quantity].best_measured
        return None if measured is None else measured.base
